"""`fedvit fuzz`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from fed_vit_autorl.cli.output import CommandError, emit, json_option
from fed_vit_autorl.deployment.processes import dying_with_parent
from fed_vit_autorl.fuzzing.decoders import DECODERS

MEMORY_MIB = 2048
LONGEST_S = 10
LONGEST_BYTES = 65536


def run(names: tuple[str, ...], *limits: str) -> dict:
    """Fuzzes decoders in one process; `limits` are libFuzzer's: `-runs=N`, `-max_total_time=S`, `-seed=N`.

    A fault is left as a file to replay, and the end of what the fuzzer said is in `fault`.
    """
    faults = Path(tempfile.mkdtemp(prefix="fedvit-fault-"))
    options = (
        f"-rss_limit_mb={MEMORY_MIB}",
        f"-timeout={LONGEST_S}",
        f"-max_len={LONGEST_BYTES}",
        f"-artifact_prefix={faults}/",
        "-print_final_stats=1",
    )
    command = [sys.executable, "-m", "fed_vit_autorl.fuzzing.harness", *names, "--", *options, *limits]
    with tempfile.TemporaryDirectory(prefix="fedvit-fuzz-") as scratch:  # the fuzzer ends without cleaning up
        done = subprocess.run(
            dying_with_parent(command),
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, "TMPDIR": scratch},
        )
    found = {name: re.findall(rf"{name}:\s+(\d+)", done.stderr) for name in ("number_of_executed_units", "peak_rss_mb")}
    units, memory = (int(values[-1]) if values else 0 for values in found.values())
    coverage = re.findall(r"cov: (\d+)", done.stderr)
    kept = [str(path) for path in sorted(faults.iterdir())]
    if not kept:
        faults.rmdir()
    return {
        "decoders": list(names),
        "inputs": units,
        "coverage": int(coverage[-1]) if coverage else 0,
        "peak_memory_mib": memory,
        "faults": kept,
        "fault": (done.stdout + done.stderr)[-3000:] if done.returncode else "",
    }


@click.command()
@click.argument("decoders", nargs=-1, type=click.Choice(sorted(DECODERS)))
@click.option("--seconds", default=60, show_default=True, type=click.IntRange(1, 86400), help="For all of them.")
@click.option("--seed", default=0, show_default=True, help="libFuzzer's; 0 chooses one.")
@json_option
def fuzz(decoders: tuple[str, ...], seconds: int, seed: int, as_json: bool) -> None:
    """Feed hostile bytes, guided by coverage, to DECODERS, or to all that face the network.

    \b
    Examples:
      fedvit fuzz --seconds 3600
      fedvit fuzz update_sparse metadata --json
    """
    result = run(decoders or tuple(DECODERS), f"-max_total_time={seconds}", f"-seed={seed}")
    emit({name: value for name, value in result.items() if name != "fault"}, as_json)
    if result["fault"]:
        raise CommandError(result["fault"])
