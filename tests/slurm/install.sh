#!/bin/bash
# Put the packages that cluster.sh needs on a Debian machine, as root. A second call does nothing; no daemon is started.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
PKGS="slurmctld slurmd slurm-client slurmdbd munge mariadb-server"
if dpkg-query -W -f '${Status}\n' $PKGS 2>/dev/null | grep -vq '^install ok installed$' \
   || [ "$(dpkg-query -W -f '${Status}\n' $PKGS 2>/dev/null | wc -l)" -ne 6 ]; then
  # packages start their daemons when they are installed, unless this file says no (containers often have it)
  made=0
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; made=1
  fi
  timeout 180 apt-get update -qq
  timeout 400 apt-get install -y -qq --no-install-recommends $PKGS
  [ $made = 0 ] || rm -f /usr/sbin/policy-rc.d
fi
slurmctld -V  # the proof that it is there
