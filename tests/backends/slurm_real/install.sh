#!/bin/bash
# Put the packages that cluster.sh needs on a Debian machine, as root. A second call does nothing; no daemon is started.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
PKGS="slurmctld slurmd slurm-client slurmdbd munge mariadb-server"
POLICY=/usr/sbin/policy-rc.d
installed() { [ "$(dpkg-query -W -f '${Status}\n' $PKGS 2>/dev/null | grep -c '^install ok installed$')" -eq 6 ]; }
if ! installed; then
  exec 9> /run/lock/slurm-install.lock  # two checkouts may be tested at once
  flock -w 200 9
fi
if ! installed; then
  # packages start their daemons when they are installed, unless this file says no (containers often have it)
  if [ ! -e $POLICY ]; then
    trap 'rm -f $POLICY' EXIT
    printf '#!/bin/sh\nexit 101\n' > $POLICY; chmod 755 $POLICY
  fi
  timeout 90 apt-get update -qq
  timeout 180 apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=60 $PKGS
fi
slurmctld -V  # the proof that it is there
