#!/usr/bin/env bash
# The workspace's environment around a command.
set -eo pipefail
source /opt/ros/jazzy/setup.bash
source /opt/fedvit/venv/bin/activate
source /opt/fedvit/install/setup.bash
# Nodes start by the system's Python; the venv's packages are found beside it.
export PYTHONPATH=$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))'):$PYTHONPATH
exec "$@"
