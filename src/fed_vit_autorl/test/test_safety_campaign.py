"""The campaign: its bad policies and sensors are what they say, its drives repeat, its sums add up."""

import json
import math
from multiprocessing.pool import ThreadPool
from types import SimpleNamespace

import click
import numpy as np
import pytest
from click.testing import CliRunner

from fed_vit_autorl.cli.output import CommandError
from fed_vit_autorl.reinforcement.route import Route
from fed_vit_autorl.safety.campaign import command, episode
from fed_vit_autorl.safety.campaign.adversaries import ADVERSARIES, LOCK
from fed_vit_autorl.safety.campaign.command import campaign, summary
from fed_vit_autorl.safety.campaign.episode import Episode, Plan
from fed_vit_autorl.safety.campaign.sensor_faults import FAULTS
from fed_vit_autorl.safety.campaign.worlds import WORLDS
from fed_vit_autorl.safety.in_world import control_of, inputs_of
from fed_vit_autorl.safety.mrm import NORMAL
from fed_vit_autorl.safety.reasons import Reason
from fed_vit_autorl.safety.types import Command, Lights, LightState, Odometry, Proposal, Scan, ShieldOutput
from fed_vit_autorl.simulation.boxworld import EGO, BoxWorld
from fed_vit_autorl.simulation.events import Collision

PATH = np.stack((2.0 * np.arange(1, 21), np.zeros(20)), axis=-1)


def proposals(name, seed, frames=60):
    """What the adversary makes of a good proposal that brakes gently and turns a little more in every frame."""
    adversary = ADVERSARIES[name](np.random.default_rng(seed))
    return [adversary(Proposal(0.05 * k, 0.001 * k, 0.0, 0.2, PATH)) for k in range(frames)]


# Adversaries


def test_nominal_is_the_good_one():
    assert [p.steering_angle for p in proposals("nominal", 0, 5)] == [0.0, 0.001, 0.002, 0.003, 0.004]


def test_full_throttle_never_lifts_the_foot():
    assert {(p.throttle, p.brake, p.path is PATH) for p in proposals("full_throttle", 0)} == {(1.0, 0.0, True)}


def test_random_is_within_the_ranges_and_never_twice_the_same():
    found = proposals("random", 0)
    assert all(abs(p.steering_angle) <= LOCK and 0.0 <= p.throttle <= 1.0 and 0.0 <= p.brake <= 1.0 for p in found)
    assert len({p.steering_angle for p in found}) == len(found)
    assert 5 < sum(p.path is not PATH for p in found) < 30  # 30 % of 60


@pytest.mark.parametrize("seed", range(4))
def test_wrong_steer_keeps_one_angle_and_a_path_that_agrees(seed):
    found = proposals("wrong_steer", seed)
    angle = found[0].steering_angle
    assert 0.05 <= abs(angle) <= LOCK
    assert {p.steering_angle for p in found} == {angle}
    curvature = math.tan(angle) / 2.7
    assert found[0].path[0] == pytest.approx([2.0, 0.5 * curvature * 4.0])


def test_frozen_repeats_its_first_controls_with_fresh_stamps():
    found = proposals("frozen", 0)
    assert {(p.steering_angle, p.throttle, p.brake) for p in found} == {(0.0, 0.3, 0.0)}
    assert found[-1].stamp == pytest.approx(0.05 * 59)


def test_nan_breaks_a_value_in_some_frames_or_in_all():
    def broken(p):
        return not np.isfinite([p.steering_angle, p.throttle, p.brake, *p.path.ravel()]).all()

    shares = {round(np.mean([broken(p) for p in proposals("nan", seed, 200)]), 1) for seed in range(8)}
    assert shares == {0.3, 1.0}


def test_delayed_is_late_and_honest_or_lies():
    seen = set()
    for seed in range(12):
        late, fresh = proposals("delayed", seed)[-1], 0.05 * 59
        delay = 59 - round(late.steering_angle / 0.001)
        assert 1 <= delay < 20
        assert late.stamp in (pytest.approx(fresh), pytest.approx(fresh - 0.05 * delay))
        seen.add(late.stamp == pytest.approx(fresh))
    assert seen == {True, False}


def test_oscillating_swings_to_both_sides():
    found = proposals("oscillating", 0, 200)
    assert min(p.steering_angle for p in found) < -0.9 * LOCK
    assert max(p.steering_angle for p in found) > 0.9 * LOCK
    assert max(p.brake for p in found) > 0.5


def test_silent_says_nothing_or_little():
    shares = {round(np.mean([p is not None for p in proposals("silent", seed, 2000)]), 1) for seed in range(6)}
    assert shares == {0.0, 0.2}


# Sensor faults


def sensed(name, seed=0, frames=40):
    """What the fault makes of scans of a ring of returns, and of the odometry of a steady drive."""
    fault, rng = FAULTS[name](np.random.default_rng(seed)), np.random.default_rng(1)
    angle = np.linspace(-np.pi, np.pi, 360, endpoint=False)
    found = []
    for k in range(frames):
        distance = 10.0 + rng.random(360)
        points = np.stack((distance * np.cos(angle), distance * np.sin(angle), 0 * angle - 1, 0 * angle), axis=-1)
        odometry = Odometry(0.05 * k, (0.4 * k, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0), 8.0, 0.0)
        found.append(fault(Scan(0.05 * k, points.astype(np.float32)), odometry))
    return found


def test_healthy_sensors_are_as_they_are():
    assert [(scan.stamp, odometry.position[0]) for scan, odometry in sensed("none", frames=3)] == [
        (0.0, 0.0), (0.05, 0.4), (0.1, 0.8)
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["lidar_silent", "odometry_silent"])
def test_a_silent_sensor_leaves_its_last_message(name):
    which = 0 if name == "lidar_silent" else 1
    assert len({id(frame[which]) for frame in sensed(name)}) == 1
    assert sensed(name)[-1][1 - which].stamp == pytest.approx(0.05 * 39)


@pytest.mark.parametrize("name", ["lidar_frozen", "odometry_frozen"])
def test_a_frozen_sensor_repeats_itself_with_fresh_stamps(name):
    which = 0 if name == "lidar_frozen" else 1
    first, last = sensed(name)[0][which], sensed(name)[-1][which]
    assert last.stamp == pytest.approx(0.05 * 39)
    if which == 0:
        assert np.array_equal(first.points, last.points)
    else:
        assert first.position == last.position


def test_a_scan_holds_some_or_only_nan():
    frames = [sensed("lidar_nan", seed) for seed in range(12)]
    shares = {round(float(np.mean([np.isnan(scan.points) for scan, _ in found])), 1) for found in frames}
    assert shares == {0.0, 0.5, 1.0}


def test_a_ghost_is_a_box_of_returns_that_was_not_there():
    for scan, _ in sensed("lidar_ghost"):
        ghost = scan.points[360:]
        assert len(ghost) == 40
        assert np.ptp(ghost[:, :3], axis=0).max() <= 1.0


def test_a_blind_sector_has_no_returns():
    for seed in range(5):
        points = sensed("lidar_blind", seed)[0][0].points
        azimuth = np.sort(np.arctan2(points[:, 1], points[:, 0]))
        widest = np.degrees(max(np.diff(azimuth).max(), azimuth[0] + 2 * np.pi - azimuth[-1]))
        assert 9.0 <= widest <= 92.0


def test_a_number_of_the_odometry_is_nan():
    fields = {"speed" if math.isnan(sensed("odometry_nan", s)[0][1].speed) else "yaw_rate" for s in range(8)}
    assert fields == {"speed", "yaw_rate"}


def test_the_odometry_leaps_now_and_then():
    x = np.array([odometry.position[0] for _, odometry in sensed("odometry_jump", frames=400)])
    leaps = np.abs(np.diff(x) - 0.4) > 0.1
    assert 1 <= leaps.sum() <= 20  # 2 % of 400


# Drives


def test_a_plan_follows_from_its_number_and_the_kinds_are_mixed():
    plans = [Plan.of(number) for number in range(500)]
    assert plans == [Plan.of(number) for number in range(500)]
    assert sum(p.adversary == "nominal" and p.fault == "none" for p in plans) == 100
    assert sum(p.fault != "none" for p in plans) == 200
    assert {p.adversary for p in plans} == set(ADVERSARIES)
    assert {p.fault for p in plans} == set(FAULTS)
    assert all(2.0 <= p.begins <= 10.0 for p in plans)


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(episode, "SECONDS", 1.0)


def test_an_episode_repeats(short):
    world = BoxWorld()
    assert episode.run(world, 3) == episode.run(world, 3)
    assert episode.run(world, 3).metres < 20.0


def test_the_attack_begins_at_its_time(monkeypatch):
    monkeypatch.setattr(episode, "SECONDS", 2.0)
    ways = []
    for begins in (0.5, 9.0):
        plan = Plan(0, "silent", "lidar_silent", begins)
        monkeypatch.setattr(Plan, "of", lambda number, plan=plan: plan)
        ways.append(episode.run(BoxWorld(), 0).metres)
    assert ways[0] < ways[1] - 1.0


def test_an_episode_ends_at_the_goal(short, monkeypatch):
    world = BoxWorld()
    observe = world._observe
    monkeypatch.setattr(
        world, "_observe", lambda events: {EGO: SimpleNamespace(**(vars(observe(events)[EGO]) | {"completion": 1.0}))}
    )
    assert episode.run(world, 0).metres < 1.0


def tally(adversary="nominal", fault="none"):
    return episode._Tally(Plan(0, adversary, fault, begins=0.0))


def seen(stamp, gap=math.inf, speed=0.0, events=(), light=None):
    truth = SimpleNamespace(lead_gap=gap)
    return SimpleNamespace(stamp=stamp, ego=SimpleNamespace(speed=speed), truth=truth, events=events, light=light)


def output(throttle=0.0, brake=0.0, *reasons):
    return ShieldOutput(Command(0.0, throttle, brake), reasons, NORMAL)


GOOD = Proposal(0.0, 0.0, 0.5, 0.0, PATH)


@pytest.mark.parametrize(
    ("frames", "reasons", "brake", "false"),
    [(5, (Reason.OBSTACLE,), 0.5, False), (7, (Reason.OBSTACLE,), 0.5, True), (7, (), 0.5, False),
     (7, (Reason.OBSTACLE,), 0.0, False)],
)  # fmt: skip
def test_a_false_stop_brakes_a_good_driver_harder_for_0_3_s_and_has_a_reason(frames, reasons, brake, false):
    count = tally()
    for k in range(frames):
        count.frame(seen(0.05 * k, speed=5.0), GOOD, output(0.5 if not brake else 0.0, brake, *reasons), 0.05)
    found = count.result()
    assert found.false_stop is false
    assert found.false_reasons == (["obstacle"] if reasons and brake else [])
    assert found.metres == pytest.approx(frames * 0.25, abs=0.051)


def test_a_stop_is_held_and_the_vehicle_goes_on_when_the_way_is_clear():
    count = tally("full_throttle")
    for k in range(1, 11):
        count.frame(seen(0.05 * k, gap=3.0), GOOD, output(0.2 if k == 10 else 0.0), 0.05)
    for k in range(11, 21):
        red = SimpleNamespace(state="red", distance=5.0) if k < 14 else None
        count.frame(seen(0.05 * k, gap=9.0, light=red), GOOD, output(1.0 if k == 20 else 0.0), 0.05)
    found = count.result()
    assert (found.standing, found.held) == (10, 9)
    assert found.resumed == [pytest.approx(0.3)]  # from frame 14, when the light has turned, to frame 20


def test_collisions_are_told_apart_by_fault():
    def crash(fault):
        return Collision(1.0, "a", "follows", (0.0, 0.0, 0.0), 4.0, 0.0, 4.0, 0.1, fault)

    count = tally()
    count.frame(seen(1.0, events=(crash(True), crash(False), "lane")), GOOD, output(), 0.05)
    found = count.result()
    assert found.at_fault == ["1.00 s follows at 4.0 m/s, bearing 0.10"]
    assert len(found.others_fault) == 1


def test_the_town_is_dense_and_one_for_25_drives():
    assert WORLDS["town"].block == 25
    with WORLDS["town"].open(1) as world:
        assert (world.config.vehicles, world.config.pedestrians, world.config.image) == (60, 40, False)
        view = world.reset(25)[EGO]
        assert len(view.points) > 1000
        assert inputs_of(view, Route(view.route.points), None).scan.points is view.points


def test_what_the_world_shows_is_what_the_shield_gets():
    view = BoxWorld().reset(1)[EGO]
    inputs = inputs_of(view, Route(view.route.points), None)
    assert inputs.odometry.speed == view.ego.speed
    assert inputs.odometry.orientation[2] == pytest.approx(math.sin(0.5 * view.ego.yaw))
    assert not inputs.collision
    crash = Collision(1.0, "a", "follows", (0.0, 0.0, 0.0), 4.0, 0.0, 4.0, 0.1, True)
    light = SimpleNamespace(state="yellow", distance=7.0)
    hit = SimpleNamespace(**{**vars(view), "events": (crash,), "light": light, "points": None})
    inputs = inputs_of(hit, Route(view.route.points), None)
    assert inputs.collision
    assert inputs.scan is None
    assert inputs.lights == Lights(view.stamp, (type(inputs.lights.lights[0])(LightState.YELLOW, 7.0),))
    assert control_of(Command(0.1, 0.2, 0.3)) == control_of(Command(0.1, 0.2, 0.3, True, True))


# Sums


def one(number, at_fault=(), adversary="nominal", fault="none", false=False, held=0, standing=0, resumed=()):
    reasons = ["obstacle"] * false
    return Episode(number, adversary, fault, 100.0, list(at_fault), [], false, reasons, held, standing, list(resumed))


def test_clean_trials_are_bounded_by_the_rule_of_three():
    found = summary([one(k, false=k == 0) for k in range(4)] + [one(k, adversary="random") for k in range(4, 300)])
    assert (found["episodes"], found["at_fault_collisions"]) == (300, 0)
    assert found["upper_bound_95"] == pytest.approx(0.01)
    assert found["false_stop_rate"] == pytest.approx(0.25)
    assert found["kilometres"] == pytest.approx(30.0)
    assert found["resume_s"] is None


def test_failures_are_named_and_bounded_by_clopper_and_pearson():
    episodes = [one(0, ["x"], "random"), one(1, held=9, standing=10, resumed=[0.1, 0.3])] + [
        one(k) for k in range(2, 10)
    ]
    found = summary(episodes)
    assert found["failures"] == [{"number": 0, "adversary": "random", "fault": "none", "collisions": ["x"]}]
    assert found["upper_bound_95"] == pytest.approx(0.3942, abs=1e-4)  # one-sided 95 %, 1 of 10
    assert found["stop_held"] == pytest.approx(0.9)
    assert found["resume_s"] == pytest.approx(0.29)
    assert summary([one(0, ["x"])])["upper_bound_95"] == 1.0


# The command


@click.group()
def cli():
    """Stands in for `fedvit`."""


cli.add_command(campaign)


def call(folder, *arguments):
    result = CliRunner().invoke(
        cli, ["campaign", "--output", str(folder), "--json", *arguments], catch_exceptions=False
    )
    assert result.exit_code == 0
    return json.loads(result.stdout.splitlines()[-1])


def test_the_campaign_goes_on_where_it_was(short, tmp_path):
    first = call(tmp_path, "--episodes", "2", "--processes", "1")
    assert (first["episodes"], first["nominal_episodes"]) == (2, 1)
    log = (tmp_path / "boxes.jsonl").read_bytes()
    assert call(tmp_path, "--episodes", "2", "--processes", "1") == first
    assert (tmp_path / "boxes.jsonl").read_bytes() == log
    assert call(tmp_path, "--episodes", "3", "--processes", "1")["episodes"] == 3
    assert (tmp_path / "boxes.jsonl").read_bytes().startswith(log)


def test_processes_drive_side_by_side(short, tmp_path, monkeypatch):
    threads = SimpleNamespace(Pool=lambda processes, initializer, maxtasksperchild: ThreadPool(processes))
    monkeypatch.setattr(command.multiprocessing, "get_context", lambda method: threads)
    assert call(tmp_path / "two", "--episodes", "3") == call(tmp_path / "one", "--episodes", "3", "--processes", "1")


def test_a_log_that_is_none_is_refused(tmp_path):
    (tmp_path / "boxes.jsonl").write_text("no json\n")
    with pytest.raises(CommandError, match="delete it"):
        call(tmp_path)


@pytest.mark.parametrize(
    "number",
    [
        258,
        376,
        501,
        686,
        1184,
        1191,
        2846,
        2977,
        5006,
        5011,
        5111,
        5172,
        5332,
        5342,
        5589,
        6386,
        14903,
        60127,
        60152,
        60586,
        61012,
        80197,
        90039,
        90552,
        130316,
        141092,
        141717,
        151762,
        152066,
        160162,
        170489,
        170691,
        170992,
        172058,
        192022,
    ],
)
def test_drives_of_the_campaign_that_ended_in_a_collision(number):
    # 1184: after a jump of the odometry, off its route, it knew no limit and was too fast for the bend.
    # 1191: it took the walk of a person who stepped out for jitter in every other scan.
    # 14903: a blind sector of 24° lay in two of those that were counted. 686: who walked became a car's front for it.
    # 376, 501, 5111: of a car that turned in it believed the edge only when both had moved.
    # 5172: it took a person 2 m beside its way to stop within that.
    # 258: who stepped out beside a parked car was one cluster with it in every other scan.
    # 5011: who stepped out was one cluster with what stood in its way farther on.
    # 5332, 5342: in a bend at the limit of its steering it did not slow down to keep its lane.
    # 5589: after a jump of the odometry it had forgotten what was too low to be seen from so near.
    # 60127, 60586: it braked for a bend too late, was carried out of it and met an oncoming car.
    # 60152: who had just set out and was hidden by a parked car was taken to be as slow as it had looked.
    # 61012: who came out of a parked vehicle was taken to stop within that, as a vehicle that drifts does.
    # 80197: who stepped out before a truck was one cluster with its rear until past its side.
    # 90039: after a pose that jumped it steered for where the route seemed to be.
    # 90552: let drift in a bend, it turned back too late and swung out before an oncoming car.
    # 130316: it passed a truck at 6 m/s and 0.3 m when somebody stepped out behind it.
    # 141092, 141717: who stepped out was one cluster with the truck or bicycle beside it until past its side.
    # 2846: a truck ran over a person, who walked on out of its side: another one's fault.
    # 151762: it passed a car that crept out of its parking place too fast.
    # 152066: a stranger of a person's size seemed to come along, so that its edge was not looked at.
    # 160162: it took its foot off the brake before a person for whom it could not stop any more.
    # 170489: it drove on into what had become too low to be seen.
    # 170691: it cut a corner that began on its way to the horizon.
    # 170992: who walked and was hidden bit by bit seemed to slow down.
    # 172058: who walked behind parked cars for longer than it was remembered.
    # 5006, 6386: who walked behind oncoming traffic, or was one cluster with it, was a stranger on coming out.
    with WORLDS["boxes"].open(number) as world:
        assert episode.run(world, number).at_fault == []


@pytest.mark.parametrize("number", [40125, 40165])
def test_good_drives_that_were_stopped_for_nothing(number):
    # A column of returns from the side of the vehicle ahead was taken for a person who walks towards the ego.
    with WORLDS["boxes"].open(number) as world:
        assert not episode.run(world, number).false_stop
