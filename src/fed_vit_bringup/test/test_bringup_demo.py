"""The demo's books and its report."""

import json
import re
from io import StringIO

import av
import msgspec
import numpy as np
import pytest

from fed_vit_autorl.evaluation.drawing import Overlay
from fed_vit_autorl.evaluation.video import VideoWriter
from fed_vit_autorl.federated.cloud.records import StoredUpdate
from fed_vit_autorl.federated.cloud.store import Store
from fed_vit_bringup.demo import report, scenes
from fed_vit_bringup.demo.accounts import update_accounts
from fed_vit_bringup.demo.fleet import demo_graph, world_record
from fed_vit_bringup.demo.narrator import Narrator
from fed_vit_bringup.demo.observer import Observed, ReleaseSeen
from fed_vit_bringup.demo.painter import VideoPainter
from fed_vit_bringup.demo.records import latency_summary, read_commands, read_observed, runs_release
from fed_vit_bringup.demo.run import Interrupted, Plan, _prepare
from fed_vit_bringup.demo.scenes import METRICS

ROWS = """stamp,latency_ms,speed,steering_angle,throttle,brake,reason,model
1.00,40.0,5.0,0.0,0.3,0.0,,2-abc
1.05,50.0,5.1,0.0,0.3,0.0,,2-abc
1.10,60.0,5.0,0.0,0.0,0.8,obstacle,2-abc
"""


@pytest.fixture
def drive(tmp_path):
    """A vehicle's folder as the observer leaves it."""
    folder = tmp_path / "vehicle_1"
    folder.mkdir()
    (folder / "commands.csv").write_text(ROWS)
    seen = Observed(frames=3, commands=3, interventions={"obstacle": 1}, releases=[ReleaseSeen(2, True, "", 0)])
    (folder / "observed.json").write_bytes(msgspec.json.encode(seen))
    with VideoWriter(folder / "camera.mp4", 10) as video:
        video.add(np.zeros((64, 64, 3), np.uint8))
    return folder


def test_records_come_back(drive):
    log = read_commands(drive)
    np.testing.assert_allclose(log.latency_ms, [40, 50, 60])
    np.testing.assert_array_equal(log.intervened, [False, False, True])
    assert read_observed(drive).releases[0].version == 2
    assert latency_summary([log, log]) == {"p50": 50.0, "p95": 60.0, "p99": 60.0, "max": 60.0}


def test_a_release_is_in_use_once_perception_says_so(drive):
    assert runs_release(drive, 2)
    assert not runs_release(drive, 3)
    assert not runs_release(drive.parent / "vehicle_9", 2)  # nothing was seen of it yet
    refused = Observed(releases=[ReleaseSeen(2, True, "", 0), ReleaseSeen(3, False, "golden_mismatch", 0)])
    (drive / "observed.json").write_bytes(msgspec.json.encode(refused))
    assert not runs_release(drive, 3)


def test_the_page_needs_no_other_file_and_shows_the_figures(drive, tmp_path):
    metrics = {"map50": 0.5, "free_space_iou": 0.9}
    change = {"map50": [0.012, 0.003, 0.021], "free_space_iou": [-0.002, -0.004, 0.0]}
    result = {
        "rounds": 3,
        "updates": {"accepted": 6, "rejected": 0, "lost": 0},
        "vehicles": {
            "vehicle_1": {
                "releases_activated": 4,
                "frames": 3,
                "frames_dropped_by_swap": 0,
                "collisions": 0,
                "route_completion": 1.0,
                "interventions": {"obstacle": 1},
            }
        },
        "latency_ms": {"p50": 50.0, "p95": 60.0, "p99": 60.0, "max": 60.0},
        "bytes_per_update": 2048.0,
        "bytes_dense_float32": 3 * 2**20,
        "perception": {"noon": {"before": metrics, "after": metrics, "change": change}},
        "releases": [{"version": 1, "perception": {"noon": metrics}}],
        "seconds": 61.0,
        "machine": {"cores": 2, "cpu": "a <fast> one"},
    }
    page = report.write(result, {"vehicle_1": read_commands(drive)}, {"vehicle_1": "noon"}, tmp_path).read_text()
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "a &lt;fast&gt; one" in page
    assert "2 KiB" in page
    assert 'class="number good">+1.20 ± 0.90<' in page
    assert 'class="number ">-0.20 ± 0.20<' in page
    assert "data:video/mp4;base64," in page
    assert page.count("data:image/png;base64,") == 3
    assert json.loads((tmp_path / "report.json").read_text())["updates"]["accepted"] == 6


def test_a_video_is_painted_in_a_process_of_its_own(tmp_path):
    painter = VideoPainter(tmp_path / "camera.mp4", 10)
    for _ in range(3):
        painter.add(np.zeros((96, 160, 3), np.uint8), Overlay(speed=3.0))
    painter.close()
    with av.open(str(tmp_path / "camera.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 3


def test_a_change_is_told_with_what_the_choice_of_scenes_explains():
    def seen(shift, *parts):
        return scenes.Seen({metric: 0.5 + shift for metric in METRICS}, [dict.fromkeys(METRICS, v) for v in parts])

    same = scenes.change(seen(0, 0.4, 0.5, 0.6), seen(0.1, 0.5, 0.6, 0.7))  # every part shows it alike
    assert same["map50"] == pytest.approx([0.1, 0.1, 0.1])
    value, low, high = scenes.change(seen(0, 0.5, 0.5, 0.5), seen(0.1, 0.5, 0.6, 0.7))["free_space_iou"]
    assert low < 0 < value < high  # one part of three decides it


def test_an_update_that_a_vehicle_sent_and_nobody_has_is_lost(tmp_path, monkeypatch):
    class Entry(msgspec.Struct):
        state: str
        manifest: "Manifest"

    class Manifest(msgspec.Struct):
        round: int

    books = {
        "vehicle_1": [Entry("accepted", Manifest(1)), Entry("accepted", Manifest(2))],
        "vehicle_2": [Entry("accepted", Manifest(1)), Entry("refused", Manifest(2))],
    }

    class Outbox:
        def __init__(self, folder):
            self.entries = books[folder.name]

        def all(self):
            return self.entries

    monkeypatch.setattr("fed_vit_bringup.demo.accounts.Outbox", Outbox)
    store = Store(tmp_path / "aggregator")
    store.open_round("demo", 1, 1, ["vehicle_1", "vehicle_2"])
    for vehicle, size in (("vehicle_1", 1000), ("vehicle_2", 3000)):
        store.add_update(StoredUpdate("demo", 1, 1, vehicle, f"digest of {vehicle}", 10, size, {}, 0.0))
    store.close()
    accounts = update_accounts(tmp_path / "aggregator", {name: tmp_path / name for name in books}, "demo")
    assert (accounts.rounds, accounts.accepted, accounts.rejected, accounts.lost) == (0, 2, 1, 1)
    assert accounts.bytes_per_update == 2000.0


def test_the_graph_gives_each_vehicle_its_cloud_and_its_weather(tmp_path):
    domains = {"vehicle_1": "noon", "vehicle_2": "rain_dusk"}
    given = {"identity": "/keys", "release": "/releases/base"}
    graph = demo_graph(tmp_path, domains, lambda vehicle: {**given, "state": f"/state/{vehicle}"}, record=False)
    assert graph.node("/vehicle_2/client").parameters["domain"] == "rain_dusk"
    assert graph.node("/vehicle_2/client").parameters["state"] == "/state/vehicle_2"
    assert graph.node("/vehicle_1/perception").parameters["trusted_keys"] == "/keys/release_keys"
    assert graph.node("/world").parameters["weathers"] == ["noon", "rain_dusk"]
    assert [node.name for node in graph.nodes[-2:]] == ["observer", "world"]
    assert world_record(tmp_path) == {}


def test_an_interruption_ends_the_work_that_is_running(tmp_path):
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    work = f"import time; open({str(begun)!r}, 'w'); time.sleep(60); open({str(ended)!r}, 'w')"

    def interrupt(done, of):
        if begun.exists():
            raise Interrupted

    with pytest.raises(Interrupted):
        scenes._each(exec, [work], interrupt)
    assert not ended.exists()


def test_resuming_needs_a_run_of_the_same_kind_and_nothing_else_is_deleted(tmp_path):
    def plan(output, resume=False, weather="noon"):
        return Plan(output, {"vehicle_1": weather}, 3, tmp_path, tmp_path, resume)

    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        _prepare(plan(tmp_path / "new", resume=True))
    _prepare(plan(tmp_path / "new"))
    _prepare(plan(tmp_path / "new", resume=True))
    with pytest.raises(ValueError, match="another demo"):
        _prepare(plan(tmp_path / "new", resume=True, weather="fog"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("precious")
    with pytest.raises(FileExistsError, match="--output"):
        _prepare(plan(tmp_path / "other"))
    assert (tmp_path / "other" / "thesis.tex").exists()


def test_a_log_gets_each_stage_once_and_details_now_and_then():
    stream = StringIO()
    narrator = Narrator(stream)
    for detail in ("1 %", "2 %", "3 %"):
        narrator.say("driving", detail)
    narrator.say("stopping")
    lines = [line.split("] ")[1] for line in stream.getvalue().splitlines()]
    assert lines == ["driving: 1 %", "stopping"]
