"""`python -m fed_vit_aggregator.skewed FOLDER MODULE … SETTINGS`: a module whose wall clock is off by the seconds that
FOLDER holds in a file named as its settings file is, for chaos runs.

What Python code asks of `time` and `datetime` is off, expiry of release metadata included; OpenSSL asks the system.
"""

import datetime
import runpy
import sys
import time
from pathlib import Path


def main() -> None:
    """Replaces time.time and datetime.now, and runs the module as __main__."""
    path, real = Path(sys.argv[1]) / Path(sys.argv[-1]).stem, time.time
    time.time = lambda: real() + (float(path.read_text() or 0) if path.exists() else 0.0)

    class Skewed(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return cls.fromtimestamp(time.time(), tz)

    datetime.datetime = Skewed
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
