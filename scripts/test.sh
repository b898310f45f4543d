#!/usr/bin/env bash
# Every test of the workspace in one pytest run, in the environment that the product runs in.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck disable=SC1091
source scripts/environment.sh
exec python -m pytest "$@"
