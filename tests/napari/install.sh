#!/bin/bash
# Put a screen without a monitor and software OpenGL on a Debian machine, as root. A second call does nothing.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
PKGS="xvfb xauth libgl1-mesa-dri libgl1 libegl1 libxcb-cursor0 libxkbcommon-x11-0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libdbus-1-3"
installed() { [ "$(dpkg-query -W -f '${Status}\n' $PKGS 2>/dev/null | grep -c '^install ok installed$')" -eq "$(wc -w <<< "$PKGS")" ]; }
if ! installed; then
  exec 9> /run/lock/xvfb-install.lock  # two checkouts may be tested at once
  flock -w 300 9
fi
if ! installed; then
  timeout 90 apt-get update -qq
  timeout 240 apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120 $PKGS
fi
command -v Xvfb  # the proof that it is there
