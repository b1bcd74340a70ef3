#!/bin/bash
# Test the plugin in napari, on a screen without a monitor: run.sh PYTHON FOLDER [arguments of pytest]
# napari and Qt are installed into an environment in FOLDER, which sees the packages of PYTHON's.
set -euo pipefail
python=$1 folder=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
PKGS="xvfb xauth libgl1-mesa-dri libgl1 libegl1 libxcb-cursor0 libxkbcommon-x11-0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libdbus-1-3"
"$python" "$here/../debian.py" xvfb-run,xauth $PKGS
if [ ! -e "$folder/.made" ]; then
  "$python" -m venv --clear "$folder"
  "$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$(echo "$folder"/lib/python*/site-packages)/below.pth"
  "$folder/bin/python" -m pip install -qq --disable-pip-version-check -r "$here/requirements.txt"
  touch "$folder/.made"
fi
exec xvfb-run -a -s "-screen 0 1600x1200x24" \
  "$folder/bin/python" -m pytest -q -rs -o python_files='proof_*.py' -p no:cacheprovider -W ignore "$here" "$@"
