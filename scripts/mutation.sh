#!/usr/bin/env bash
# Mutation score of the safety code: `scripts/mutation.sh [mutants...]`, names as "fed_vit_autorl.safety.rss*".
# Works in out/mutation, goes on where it stopped, prints the survivors and the score.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
mkdir -p out/mutation
cp -r --update src/fed_vit_autorl/fed_vit_autorl src/fed_vit_autorl/test pyproject.toml out/mutation/
cd out/mutation
export OMP_NUM_THREADS=1
mutmut run --max-children "${MUTANTS_AT_A_TIME:-2}" "$@"
mutmut results
mutmut export-cicd-stats
python - <<'SCORE'
import json
from pathlib import Path

stats = json.loads(Path("mutants/mutmut-cicd-stats.json").read_text())
killed = stats["killed"] + stats["timeout"] + stats["segfault"]
judged = killed + stats["survived"] + stats["no_tests"] + stats["suspicious"]
print(f"mutation score {100.0 * killed / max(judged, 1):.1f} % ({killed} of {judged} killed)")
SCORE
