"""Kernels: kept for the next process, made anew when anything that they are made of changes, safe with indices."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fed_vit_autorl
from fed_vit_autorl.compiled import compiled

MODULE = """
from fed_vit_autorl.compiled import compiled
from factor import FACTOR, half
@compiled("float64(float64)")
def scaled(x):
    return FACTOR * half(x)
print(scaled(6.0), scaled.stats.cache_hits.total() if hasattr(scaled, "stats") else "plain")
"""
FACTORS = """
from fed_vit_autorl.compiled import compiled
FACTOR = {factor}
@compiled("float64(float64)")
def half(x):
    return x * {half}
"""


def run(folder, factor, half, **environment):
    """What a new process prints: the kernel's answer, and how often it found it compiled."""
    (folder / "scaling.py").write_text(MODULE)
    (folder / "factor.py").write_text(FACTORS.format(factor=factor, half=half))
    program = "import fed_vit_autorl.compiled as c, pathlib; c.KEPT = pathlib.Path('kernels'); import scaling"
    paths = {"PYTHONPATH": f"{Path(fed_vit_autorl.__file__).parents[1]}:{folder}", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=paths | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_a_kernel_follows_what_it_names_and_calls_in_other_modules(tmp_path):
    assert run(tmp_path, 3.0, 0.5)[0] == "9.0"
    assert run(tmp_path, 4.0, 0.5)[0] == "12.0"
    assert run(tmp_path, 4.0, 0.25)[0] == "6.0"
    assert len(list((tmp_path / "kernels").iterdir())) == 2  # one of each kernel


def test_without_compilation_it_is_plain_python(tmp_path):
    assert run(tmp_path, 3.0, 0.5, NUMBA_DISABLE_JIT="1") == ["9.0", "plain"]


def test_an_index_beyond_the_end_is_an_error():
    @compiled("float64(float64[:], int64)")
    def pick(numbers, index):
        return numbers[index]

    assert pick(np.array([1.0, 2.0]), 1) == 2.0
    with pytest.raises(IndexError):
        pick(np.array([1.0, 2.0]), 2)
