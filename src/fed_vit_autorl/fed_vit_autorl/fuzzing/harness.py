"""`python -m fed_vit_autorl.fuzzing.harness DECODER … -- OPTION …`: libFuzzer by atheris, guided by coverage.

The first byte of an input chooses among the decoders. Ends with an error for anything raised but a `Refused`; libFuzzer
itself does for too much memory (-rss_limit_mb, -malloc_limit_mb) and too much time (-timeout).
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fed_vit_autorl", "tuf"]):
    from fed_vit_autorl.fuzzing.decoders import decoder
    from fed_vit_autorl.refusal import Refused


def main() -> None:
    """Splits the arguments and never returns."""
    split = sys.argv.index("--")
    decoders = [decoder(name) for name in sys.argv[1:split]]
    corpus = Path(tempfile.mkdtemp(prefix="fedvit-corpus-"))
    for number, each in enumerate(decoders):
        for index, seed in enumerate(each.seeds):
            (corpus / f"{number}-{index}").write_bytes(bytes([number]) + seed)

    def one(data: bytes) -> None:
        if data:
            with contextlib.suppress(Refused):
                decoders[data[0] % len(decoders)].decode(data[1:])

    atheris.Setup([sys.argv[0], *sys.argv[split + 1 :], str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
