#!/bin/bash
# Put Chromium on a Debian machine, as root. A second call does nothing.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
installed() { command -v chromium > /dev/null; }
if ! installed; then
  exec 9> /run/lock/chromium-install.lock  # two checkouts may be tested at once
  flock -w 300 9
fi
if ! installed; then
  timeout 90 apt-get update -qq
  timeout 240 apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120 chromium
fi
chromium --version  # the proof that it is there
