"""`python -m fed_vit_aggregator.skewed FILE MODULE …`: a module whose wall clock is off by the seconds that FILE
holds, for chaos runs.
"""

import runpy
import sys
import time
from pathlib import Path


def main() -> None:
    """Replaces time.time, and runs the module as __main__."""
    path, real = Path(sys.argv[1]), time.time
    time.time = lambda: real() + float(path.read_text() or 0)
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
