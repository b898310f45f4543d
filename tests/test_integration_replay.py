"""``fedvit replay`` of a committed drive through the real nodes: the same commands each time, as they were then."""

import json
import subprocess
import sys
from pathlib import Path

import av
import pytest

ROOT = Path(__file__).parents[1]


def replay(bag: Path, output: Path, *options: str) -> subprocess.CompletedProcess:
    command = [
        sys.executable,
        "-m",
        "fed_vit_autorl.cli",
        "replay",
        str(bag),
        "--json",
        "--output",
        str(output),
        *options,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=output.parent)


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("replay")
    runs = [replay(ROOT / "tests/data/drive", folder / str(number)) for number in range(2)]
    for run in runs:
        assert run.returncode == 0, run.stderr
    return [json.loads(run.stdout.splitlines()[-1]) for run in runs]


def test_every_frame_is_answered_and_nothing_is_missing(reports):
    report = reports[0]
    assert report["frames"] == report["commands"] == 40
    assert report["missing_inputs"] == []
    assert report["latency_ms"]["p99"] > 0


def test_two_replays_give_the_same_commands_to_the_bit(reports):
    assert reports[0]["commands_sha256"] == reports[1]["commands_sha256"]


def test_the_vehicle_drives_where_it_drove(reports):
    # The recorded driver is this project's own policy under its shield, on a free road.
    assert reports[0]["false_stop_rate"] <= 0.05


def test_the_video_plays(reports):
    with av.open(reports[0]["video"]) as video:
        assert sum(1 for _ in video.decode(video=0)) == 40


def test_what_cannot_be_played_ends_with_one_line_that_says_why(tmp_path):
    run = replay(ROOT / "tests/data/drive", tmp_path / "out", "--map", "camera/image:=/nowhere")
    assert run.returncode == 2
    assert "/nowhere is not in the recording" in run.stderr
    assert "Traceback" not in run.stderr
