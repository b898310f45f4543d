"""Latency statistics from traces: arithmetic that can be redone by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fed_vit_autorl.edge.latency import LatencyStatistics, ProfileRequest, Stamp, Statistics

MS = 1_000_000
FRAME = 50 * MS


def trace(sent_ns, policy=10.0):
    """Perception: 2 ms transport, 1 queueing, 30 compute; the policy: 3 ms transport, 0.5 queueing, then compute."""
    perception = Stamp("perception", sent_ns, sent_ns + 2 * MS, sent_ns + 3 * MS, sent_ns + 33 * MS)
    begin = perception.done_ns
    done = begin + 3 * MS + MS // 2 + round(policy * MS)
    return [perception, Stamp("policy", begin, begin + 3 * MS, begin + 3 * MS + MS // 2, done)]


def filled(frames, **options):
    statistics = LatencyStatistics(20.0, **options)
    for k in range(frames):
        sent = (k + 1) * FRAME
        statistics.add(sent - 5 * MS, trace(sent), sent + 60 * MS, wall_stamps=True)
    return statistics


def test_transport_queueing_and_compute_are_told_apart():
    report = filled(10).report()
    perception = report.stages["perception"]
    assert perception.transport.mean == pytest.approx(2.0)
    assert perception.queueing.mean == pytest.approx(1.0)
    assert perception.compute.mean == pytest.approx(30.0)
    assert report.stages["policy"].transport.max == pytest.approx(3.0)
    assert report.stages["policy"].queueing.max == pytest.approx(0.5)
    assert report.sensor.p50 == pytest.approx(5.0)
    assert report.end_to_end.p99 == pytest.approx(65.0)
    assert report.end_to_end.count == report.frames == 10
    assert (report.dropped, report.clock_jumps) == (0, 0)


def test_without_wall_stamps_the_chain_begins_at_the_cameras_publication():
    statistics = LatencyStatistics(20.0)
    statistics.add(7 * FRAME, trace(100 * FRAME), 100 * FRAME + 60 * MS, wall_stamps=False)
    report = statistics.report()
    assert report.end_to_end.max == pytest.approx(60.0)
    assert report.sensor == Statistics()


def test_a_stage_is_held_to_its_budget():
    # Budgets of the topic table: perception 50 ms, policy 10 ms.
    statistics = LatencyStatistics(20.0)
    statistics.add(FRAME, trace(2 * FRAME, policy=12.0), 2 * FRAME + 60 * MS, wall_stamps=False)
    report = statistics.report()
    assert report.stages["perception"].within_budget
    assert not report.stages["policy"].within_budget


def test_frames_that_never_got_a_command_are_counted_by_their_stamps():
    statistics = LatencyStatistics(20.0)
    for k in (1, 2, 3, 7, 8, 10):
        statistics.add(k * FRAME, trace(k * FRAME), k * FRAME + 60 * MS, wall_stamps=True)
    assert statistics.report().dropped == 3 + 1


def test_a_stamp_that_goes_back_starts_the_counting_anew():
    statistics = LatencyStatistics(20.0)
    for k in (100, 101, 1, 2, 5000, 5001):
        statistics.add(k * FRAME, trace(k * FRAME), k * FRAME + 60 * MS, wall_stamps=True)
    assert statistics.report().dropped == 0


@pytest.mark.parametrize("received", [-10, 20_000])
def test_a_trace_cut_by_a_clock_jump_is_left_out_and_counted(received):
    statistics = filled(3)
    statistics.add(4 * FRAME, trace(4 * FRAME), 4 * FRAME + received * MS, wall_stamps=True)
    report = statistics.report()
    assert report.clock_jumps == 1
    assert report.end_to_end.count == 3
    assert report.frames == 4


def test_unknown_times_are_no_samples():
    statistics = LatencyStatistics(20.0)
    statistics.add(FRAME, [Stamp("policy", 0, 0, FRAME, FRAME + 4 * MS)], FRAME + 6 * MS, wall_stamps=False)
    report = statistics.report()
    assert report.stages["policy"].transport == report.stages["policy"].queueing == Statistics()
    assert report.stages["policy"].compute.mean == pytest.approx(4.0)
    assert report.end_to_end.mean == pytest.approx(6.0)


def test_the_window_forgets_the_oldest_frames():
    statistics = LatencyStatistics(20.0)
    for k in range(1, 2000):
        late = 500 if k < 500 else 60
        statistics.add(k * FRAME, trace(k * FRAME), k * FRAME + late * MS, wall_stamps=True)
    report = statistics.report()
    assert report.end_to_end.count == 1200
    assert report.end_to_end.max == pytest.approx(60.0)


def test_an_empty_window_asks_for_nothing():
    report = LatencyStatistics(20.0).report()
    assert report.end_to_end == Statistics()
    assert report.profile == "full"
    assert report.deadline_met


def test_a_lighter_model_is_asked_for_after_three_missed_deadlines():
    statistics = filled(10, deadline_s=0.050)
    profiles = [statistics.report().profile for _ in range(4)]
    assert profiles == ["full", "full", "light", "light"]
    assert not statistics.report().deadline_met


def test_the_full_model_comes_back_only_with_room_to_spare():
    request = ProfileRequest()
    for _ in range(3):
        request.update(met=False, room=False)
    for _ in range(50):
        request.update(met=True, room=False)
    assert request.name == "light"
    for _ in range(9):
        request.update(met=True, room=True)
    assert request.name == "light"
    request.update(met=True, room=True)
    assert request.name == "full"


def test_one_miss_is_forgiven():
    request = ProfileRequest()
    for _ in range(20):
        request.update(met=False, room=False)
        request.update(met=False, room=False)
        request.update(met=True, room=False)
    assert request.name == "full"


@given(st.lists(st.floats(0.0, 1e4), min_size=1, max_size=200))
def test_statistics_are_numpys(values):
    found = Statistics.of(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.std == pytest.approx(np.std(values), abs=1e-9)
    assert (found.min, found.max, found.count) == (min(values), max(values), len(values))
    assert found.p50 == pytest.approx(np.median(values))
    assert found.min <= found.p50 <= found.p95 <= found.p99 <= found.max
