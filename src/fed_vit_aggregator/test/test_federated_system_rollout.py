"""A release that a part of the fleet tries: widened when it holds, taken back by a new version when it does not."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from fed_vit_aggregator.keyring import Keyring
from fed_vit_aggregator.releases import ReleaseFolder, Rollback
from fed_vit_aggregator.rollout import RolloutWatch
from fed_vit_autorl.deployment.config_file import from_mapping
from fed_vit_autorl.deployment.fleet_config import FleetConfig
from fed_vit_autorl.deployment.offers import Channel
from fed_vit_autorl.federated.cloud.records import VehicleRecord
from fed_vit_autorl.federated.cloud.store import Store
from fed_vit_autorl.federated.drift import Report, Verdict, judge, relative_drop, report
from fed_vit_autorl.federated.vehicle.releases import Shadow
from fed_vit_autorl.federated.virtual.vehicles import write_linear_release


class ShadowTests:
    """Both vehicles' tests: release 2 brings mAP50 from 0.5 to `after`, said only once `go` is set."""

    def __init__(self, after: float) -> None:
        self.after, self.go = after, threading.Event()
        self.asked: list[tuple[str, int]] = []

    def of(self, vehicle: str):
        def test(candidate, manifest, active) -> Shadow:
            self.asked.append((vehicle, manifest.version))
            assert self.go.wait(60)
            after = self.after if manifest.version == 2 else 0.5
            return Shadow({"map50": after, "before.map50": 0.5, "objects": 1000.0})

        return test


def start(make_fleet, after: float):
    """A fleet whose first round's release is being tested by its canary, the other vehicle still at release 1."""
    fleet, tests = make_fleet(rounds=1, canary_share=0.5), ShadowTests(after)
    fleet.cloud.start()
    for vehicle in ("v1", "v2"):
        fleet.start_client(vehicle, tests.of(vehicle))
    fleet.until(lambda state: state["canary"])
    fleet.wait(lambda: tests.asked)
    return fleet, tests


def test_a_release_that_holds_on_the_canary_reaches_everybody(make_fleet):
    fleet, tests = start(make_fleet, after=0.46)
    assert fleet.cloud.state()["canary"] == {"version": 2, "vehicles": 1, "reports": 0, "lost": None}
    assert len(tests.asked) == 1
    tests.go.set()
    fleet.wait(lambda: all(client.releases.version == 2 for client in fleet.clients.values()))
    assert fleet.cloud.state()["canary"] is None
    assert {vehicle for vehicle, _ in tests.asked} == {"v1", "v2"}


def test_a_release_that_drifts_on_the_canary_is_taken_back_by_a_new_version(make_fleet):
    fleet, tests = start(make_fleet, after=0.44)
    [(canary, _)] = tests.asked
    tests.go.set()
    fleet.wait(lambda: all(client.releases.version == 3 for client in fleet.clients.values()))
    assert [version for vehicle, version in tests.asked if vehicle != canary] == [3]
    last = fleet.cloud.state()["releases"][-1]
    assert (last["kind"], last["source"], last["reason"]) == ("rollback", 1, "shadow")
    for name, tensor in fleet.weights(1).items():
        np.testing.assert_array_equal(fleet.weights(3)[name], tensor)
    assert fleet.cloud.state()["canary"] is None
    with fleet.cloud.client() as client:
        assert 'fedvit_rollbacks_total{reason="shadow"} 1.0' in client.get("/metrics").text


class Cloud:
    """Releases and their watch without a network; `figures` is what the reference set says of the next release."""

    def __init__(self, folder, shipped, **rollout) -> None:
        self.store, keys = Store(folder), Keyring(folder)
        for index in range(4):
            self.store.seen(VehicleRecord(f"v{index}", True, "idle", 1))
        config = from_mapping({"rollout": rollout, "federation": {"drift_gate": 0.1}}, FleetConfig)
        self.repository, self.map50 = keys.repository, 0.5
        self.releases = ReleaseFolder(
            folder / "releases",
            config,
            self.store,
            keys.releases,
            shipped.keys,
            keys.repository,
            lambda *_: {"map50": self.map50},
            lambda: None,
        )
        self.releases.adopt(shipped.folder)
        self.watch = RolloutWatch(config, self.store, self.releases, self.releases.roll_back)
        self.now = 0.0

    def round(self, map50: float) -> None:
        """A round's release, which the reference set gives `map50`."""
        self.map50 = map50
        current = self.releases.current
        number = current.version
        weights = {"linear/bias": np.full(4, number, np.float32)}
        done = SimpleNamespace(run="main", number=number, base=current.version)
        self.releases.publish(done, weights, {"map50": map50}, {})

    def say(self, vehicle: str, before: float, after: float) -> None:
        tested = float(self.releases.version)
        figures = {"tested": tested, "map50": after, "before.map50": before, "objects": 1000.0}
        self.store.seen(VehicleRecord(vehicle, True, "idle", self.releases.version, figures))

    def step(self, seconds: float = 2.0) -> str:
        """Of the release in force: what it is."""
        self.now += seconds
        self.watch.step(self.now)
        return self.releases.current.kind


@pytest.fixture
def make_cloud(tmp_path):
    key = Keyring(tmp_path / "maker").releases
    write_linear_release(tmp_path / "base", key, 4)
    shipped = SimpleNamespace(folder=tmp_path / "base", keys=[key.public_key()])
    clouds = []

    def make(**rollout) -> Cloud:
        folder = tmp_path / f"cloud{len(clouds)}"
        folder.mkdir()
        clouds.append(Cloud(folder, shipped, **rollout))
        return clouds[-1]

    yield make
    for cloud in clouds:
        cloud.store.close()


def test_small_losses_that_add_up_on_the_reference_set_bring_the_best_release_back(make_cloud):
    cloud = make_cloud()
    cloud.round(0.52)
    assert cloud.step() == "round"
    cloud.round(0.48)  # 7.7 % below the best
    assert cloud.step() == "round"
    cloud.round(0.46)  # 11.5 % below the best, 4.2 % below the one before
    assert cloud.step() == "rollback"
    assert (cloud.releases.current.source, cloud.releases.version) == (2, 5)
    assert cloud.releases.reason(5) == Rollback.REFERENCE
    files = [cloud.releases.manifest(version).files["linear.safetensors"] for version in (2, 5)]
    assert files[0] == files[1]
    assert cloud.step() == "rollback"
    assert cloud.releases.version == 5


def test_a_canary_that_nobody_reports_on_is_taken_back(make_cloud):
    cloud = make_cloud(canary_share=0.25, patience_s=100.0)
    cloud.round(0.5)
    assert cloud.repository.offers()[Channel.FLEET].version == 1
    assert cloud.step(2.0) == "round"
    assert cloud.step(90.0) == "round"
    assert cloud.step(20.0) == "rollback"
    assert cloud.releases.reason(3) == Rollback.UNPROVEN
    assert {channel: offer.version for channel, offer in cloud.repository.offers().items()} == {Channel.FLEET: 3}


def test_after_it_was_widened_the_whole_fleets_word_takes_it_back(make_cloud):
    cloud = make_cloud(canary_share=0.25, min_reports=3)
    cloud.round(0.5)
    [canary] = [f"v{index}" for index in range(4) if cloud.releases.canary.takes(f"v{index}")]
    cloud.say(canary, 0.5, 0.49)  # all that there is of the canary
    assert cloud.step() == "round"
    assert cloud.releases.canary is None
    others = [f"v{index}" for index in range(4) if f"v{index}" != canary]
    cloud.say(others[0], 0.5, 0.3)
    assert cloud.step() == "round"  # two reports of the three that it takes
    cloud.say(others[1], 0.5, 0.3)
    assert cloud.step() == "rollback"


def test_a_crash_between_entering_and_offering_is_made_good_by_the_next_start(make_cloud, monkeypatch):
    cloud = make_cloud(canary_share=0.25)

    def killed(offers):
        raise KeyboardInterrupt

    monkeypatch.setattr(cloud.repository, "offer", killed)
    with pytest.raises(KeyboardInterrupt):
        cloud.round(0.5)
    monkeypatch.undo()
    assert cloud.releases.canary is None
    cloud.releases.adopt(None)
    assert cloud.releases.canary.version == 2


def test_verdicts_by_hand():
    reports = [Report(2, 0.6, 0.5, 10_000), Report(2, 0.4, 0.41, 10_000)]
    assert relative_drop(reports) == pytest.approx(0.09)  # 1 - 0.91 / 1.0
    assert judge(reports, 0.1, 2) is Verdict.HOLDS
    assert judge(reports, 0.08, 2) is Verdict.DRIFTED
    assert judge(reports, 0.08, 3) is Verdict.OPEN
    assert relative_drop([Report(2, 0.0, 0.0, 1)]) == 0.0
    # A loss of 0.1 + 0.1 in sum; its error is √2 · √(0.5 · 0.5 / n): 0.22 at n = 10, 0.07 at n = 100.
    few, many = ([Report(2, 0.5, 0.4, objects)] * 2 for objects in (10, 100))
    assert judge(few, 0.1, 2) is Verdict.HOLDS
    assert judge(many, 0.1, 2) is Verdict.DRIFTED


@pytest.mark.parametrize(
    "metrics",
    [
        {},
        {"map50": 0.5},
        {"tested": 2.0, "map50": 0.1, "before.map50": 1e9, "objects": 9.0},
        {"tested": float("nan"), "map50": 0.1, "before.map50": 0.5, "objects": 9.0},
        {"tested": 2.0, "map50": -1.0, "before.map50": 0.5, "objects": 9.0},
        {"tested": 2.0, "map50": 0.1, "before.map50": 0.5},
        {"tested": 2.0, "map50": 0.1, "before.map50": 0.5, "objects": 0.0},
    ],
)
def test_figures_that_can_not_be_are_no_report(metrics):
    assert report(metrics) is None
