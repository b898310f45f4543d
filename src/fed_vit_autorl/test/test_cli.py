"""The command line: one JSON object on the last line, and errors that say what to do."""

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from fed_vit_autorl.cli import bench as bench_module
from fed_vit_autorl.cli.doctor import CHECKS, doctor
from fed_vit_autorl.cli.output import emit


def fedvit(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "fed_vit_autorl.cli", *arguments], capture_output=True, text=True, check=False
    )


def test_json_is_one_line_and_strict(capsys):
    emit({"a": float("nan"), "b": np.float32(1.5), "c": np.arange(2), "d": {1: (True, None)}}, as_json=True)
    assert capsys.readouterr().out == '{"a": null, "b": 1.5, "c": [0, 1], "d": {"1": [true, null]}}\n'


def test_doctor_reports_every_check_as_json():
    result = CliRunner().invoke(doctor, ["--json"])
    found = json.loads(result.stdout.splitlines()[-1])
    assert found.keys() == CHECKS.keys()
    assert result.exit_code == (0 if all(item["ok"] for item in found.values()) else 1)
    assert all(item["advice"] for item in found.values() if not item["ok"])


def test_help_lists_the_commands_and_shows_examples():
    result = fedvit("--help")
    assert result.returncode == 0
    assert "doctor" in result.stdout
    assert "fedvit bench graph --json" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "hint"), [(("bench", "nosuch"), "no bench named"), (("nosuch",), "No such command")]
)
def test_a_wrong_name_ends_with_status_2_and_a_hint(arguments, hint):
    result = fedvit(*arguments)
    assert result.returncode == 2
    assert hint in result.stderr
    assert "Traceback" not in result.stderr


def test_results_of_benches_stand_side_by_side_with_the_machine(tmp_path):
    path = tmp_path / "results.json"
    bench_module.record("one", {"ratio": 2.0}, path)
    bench_module.record("two", {"ratio": 3.0}, path)
    results = json.loads(path.read_text())
    assert results["one"]["ratio"] == 2.0
    assert results["two"]["machine"]["cores"] >= 1
