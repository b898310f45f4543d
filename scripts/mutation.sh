#!/usr/bin/env bash
# Mutation score of the safety code, module by module: `scripts/mutation.sh [modules...]`, as "rss rules"; all by default.
# Each has a folder in out/mutation and goes on where it stopped; survivors and scores are printed. A module is judged by
# its own tests, test_safety_<module>*.py, if it has any, else by those of all.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
export OMP_NUM_THREADS=1
safety=fed_vit_autorl/safety
modules=("$@")
if [ $# -eq 0 ]; then
  for path in src/fed_vit_autorl/$safety/*.py; do
    name=$(basename "$path" .py)
    case $name in __init__ | in_world) ;; *) modules+=("$name") ;; esac
  done
fi
for module in "${modules[@]}"; do
  mkdir -p "out/mutation/$module"
  cp -r --update src/fed_vit_autorl/fed_vit_autorl src/fed_vit_autorl/test pyproject.toml "out/mutation/$module/"
  (
    cd "out/mutation/$module"
    python "$OLDPWD/scripts/plain_kernels.py" $safety "$module"
    sed -i "s|^only_mutate = .*|only_mutate = [\"$safety/$module.py\"]|" pyproject.toml
    if [ -f "test/test_safety_$module.py" ]; then
      # The selection is what the file ends with.
      sed -i '/^pytest_add_cli_args_test_selection/,$d' pyproject.toml
      printf 'pytest_add_cli_args_test_selection = [%s]\n' "$(printf '"%s", ' test/test_safety_"$module"*.py)" >> pyproject.toml
    fi
    mutmut run --max-children "${MUTANTS_AT_A_TIME:-2}"
    mutmut results
    mutmut export-cicd-stats
  )
done
python - "${modules[@]}" <<'SCORE'
import json
import sys
from pathlib import Path

killed = judged = 0
for module in sys.argv[1:]:
    stats = json.loads(Path(f"out/mutation/{module}/mutants/mutmut-cicd-stats.json").read_text())
    dead = stats["killed"] + stats["timeout"] + stats["segfault"]
    of = dead + stats["survived"] + stats["no_tests"] + stats["suspicious"]
    print(f"{module}: {dead} of {of} killed")
    killed, judged = killed + dead, judged + of
print(f"mutation score {100.0 * killed / max(judged, 1):.1f} % ({killed} of {judged} killed)")
SCORE
