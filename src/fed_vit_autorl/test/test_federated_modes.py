"""What a fleet's file may name besides plain averaging, through the rounds that real vehicles take part in: SCAFFOLD,
asynchronous buffers, device classes, personal heads, data-quality weights, client sampling.
"""

import numpy as np
import pytest
import safetensors.numpy

from fed_vit_autorl.federated.cloud.records import Phase
from fed_vit_autorl.federated.submodel import narrow
from fed_vit_autorl.federated.vehicle.training import TrainingResult

SHAPES = {"perception/body": (6, 4), "perception/head": (3,)}
DENSE = {"communication": {"compression": "none", "quantization_bits": 32}, "privacy": {"clip_norm": 1e6}}
STEPS, RATE = 5, 0.1


class QuadraticTrainer:
    """Gradient descent on ½ a (w - b)², a and b by the vehicle's name: far from the others' optima and curvatures."""

    def __init__(self, name):
        number = int(name[1:])
        self.curvature, self.optimum = 1.0 + number, float(3 * number - 2)
        self.quality = 1.0
        self._result = None

    @property
    def running(self):
        return self._result is not None

    def start(self, task, base, local, now):
        weights = safetensors.numpy.load_file(base / "perception.safetensors")
        start = {f"perception/{name}": tensor for name, tensor in weights.items()} | local.personal
        if task.plan["profile"]:
            options = {key: value for key, value in task.plan["profile"].items() if key != "name"}
            start = {name: start[name][np.ix_(*axes)] for name, axes in narrow(start, **options).items()}
        end = {name: self.descend(tensor, local.correction.get(name, 0)) for name, tensor in start.items()}
        delta = {name: (end[name] - tensor).astype(np.float32) for name, tensor in start.items()}
        metrics = {"local_steps": float(STEPS), "local_lr": RATE, "data_quality": self.quality}
        self._result = TrainingResult(delta, 32, metrics)

    def descend(self, weights, correction):
        for _ in range(STEPS):
            weights = weights - RATE * (self.curvature * (weights - self.optimum) + correction)
        return weights

    def cancel(self):
        self._result = None

    def poll(self, now):
        result, self._result = self._result, None
        return result


@pytest.fixture
def make(memory_fleet, tmp_path):
    def of(name="fleet", make_trainer=QuadraticTrainer, **options):
        options = {"sections": DENSE, "shapes": SHAPES, "weighting": "uniform"} | options
        return memory_fleet(tmp_path / name, make_trainer=make_trainer, **options)

    return of


def weights(fleet):
    return fleet.releases.weights(fleet.releases.version)


def scaffold_on_paper(vehicles, rounds):
    """Karimireddy et al. 2020, algorithm 1 with option II and all clients in every round, for one coordinate."""
    trainers = [QuadraticTrainer(f"v{index}") for index in range(vehicles)]
    x, c, own = 0.0, 0.0, [0.0] * vehicles
    for _ in range(rounds):
        ends = [trainer.descend(x, c - own[index]) for index, trainer in enumerate(trainers)]
        new = [own[index] - c + (x - end) / (STEPS * RATE) for index, end in enumerate(ends)]
        x = x + np.mean([end - x for end in ends])
        c = c + np.mean([after - before for after, before in zip(new, own, strict=True)])
        own = new
    return x


def test_scaffold_follows_the_paper_through_restarts(make):
    fleet = make(vehicles=3, num_rounds=6, aggregation={"scaffold": {"num_vehicles": 3}})
    while not fleet.engine.finished:
        if fleet.random.random() < 0.3:
            fleet.store.close()
            fleet.start_aggregator()
            fleet.start_client(fleet.random.choice(list(fleet.keys)))
        fleet.turn()
    for tensor in weights(fleet).values():
        np.testing.assert_allclose(tensor, scaffold_on_paper(3, 6), rtol=1e-4)


def test_scaffold_ends_where_the_sum_of_losses_is_least_and_fedavg_does_not(make):
    # Σ a (w - b) = 0 for a = 1, 2 and b = -2, 1: w = 0. FedAvg's fixed point weighs by 1 - (1 - ηa)^K instead.
    ends = {}
    for aggregation in ("fedavg", {"scaffold": {"num_vehicles": 2}}):
        name = "fedavg" if aggregation == "fedavg" else "scaffold"
        fleet = make(name, vehicles=2, num_rounds=14, aggregation=aggregation)
        fleet.run()
        ends[name] = float(weights(fleet)["perception/head"][0])
    pull = [1 - (1 - RATE * a) ** STEPS for a in (1, 2)]
    assert ends["fedavg"] == pytest.approx((pull[0] * -2 + pull[1] * 1) / sum(pull), abs=1e-3)
    assert ends["scaffold"] == pytest.approx(0.0, abs=1e-3)


class ToldTrainer(QuadraticTrainer):
    """Descends at the rate that its task tells."""

    def start(self, task, base, local, now):
        self.rate = task.plan["training"]["lr"]
        super().start(task, base, local, now)

    def descend(self, weights, correction):
        return self.optimum + (weights - self.optimum) * (1 - self.rate * self.curvature) ** STEPS


def test_a_rate_that_decays_brings_fedavg_nearer_to_the_optimum(make):
    # As above for a rate η_r = 0.1 d^(r - 1): each round ends at the mean of b + (w - b) (1 - η_r a)^K.
    ends = {}
    for decay in (1.0, 0.9):
        fleet = make(
            f"decay {decay}", make_trainer=ToldTrainer, vehicles=2, num_rounds=20, client_lr=RATE, client_lr_decay=decay
        )
        fleet.run()
        ends[decay], expected = float(weights(fleet)["perception/head"][0]), 0.0
        for number in range(20):
            left = [(1 - RATE * decay**number * a) ** STEPS for a in (1, 2)]
            expected = np.mean([b + (expected - b) * kept for b, kept in zip((-2, 1), left, strict=True)])
        assert ends[decay] == pytest.approx(expected, abs=1e-3)
    assert abs(ends[0.9]) < abs(ends[1.0]) / 2


def test_a_vehicles_variate_is_kept_and_sent_nowhere(make):
    fleet = make(vehicles=2, num_rounds=2, aggregation={"scaffold": {"num_vehicles": 2}})
    fleet.run()
    kept = fleet.clients["v1"].outbox.kept()
    # After the first round c_i = -Δ / (K η); Δ from 0 towards 1 with curvature 2.
    assert kept["variate:perception/head"].shape == (3,)
    assert not any("variate" in name for name in fleet.store.updates("main", 1)[0].metrics)


def test_asynchronous_rounds_wait_for_the_buffer_only_and_count_late_updates_less(make):
    plan = {"buffer_size": 2, "staleness_factor": 0.5, "max_staleness": 3}
    fleet = make(vehicles=3, min_vehicles=2, num_rounds=3, asynchronous=plan)
    slow = fleet.clients["v2"]._trainer
    slow.poll = lambda now: None  # trains on and on
    while fleet.engine.round is None or fleet.engine.round.number < 3:
        fleet.turn()
    assert slow.running
    before = weights(fleet)["perception/head"].copy()
    assert fleet.releases.version == 3
    fleet.down |= {"v1"}  # the last round's buffer is the fast one's and the slow one's of round 1
    del slow.poll
    fleet.run()
    rounds = fleet.store.rounds("main")
    assert [[vehicle for vehicle, _ in r.participants] for r in rounds] == [["v0", "v1"], ["v0", "v1"], ["v0", "v2"]]
    made_for = {u.vehicle: u.made_for for u in fleet.store.updates("main", 3)}
    assert made_for == {"v0": 3, "v2": 1}
    fresh, stale = (QuadraticTrainer(name) for name in ("v0", "v2"))
    discount = 3**-0.5  # (1 + staleness)^-½, two versions late
    moved = (fresh.descend(before, 0) - before + discount * stale.descend(0 * before, 0)) / 2
    np.testing.assert_allclose(weights(fleet)["perception/head"], before + moved, rtol=1e-5)


def test_a_vehicle_that_is_too_far_behind_begins_anew(make):
    fleet = make(vehicles=3, min_vehicles=2, num_rounds=4, asynchronous={"buffer_size": 2, "max_staleness": 1})
    slow = fleet.clients["v2"]._trainer
    slow.poll = lambda now: None
    while fleet.engine.round is None or fleet.engine.round.number < 4:
        fleet.turn()
    # What it was at for round 1 counts in round 2 still, and not in round 3.
    assert fleet.clients["v2"].task.round >= 3


def test_device_classes_train_their_part_and_each_coordinate_is_averaged_over_those_who_did(make):
    profiles = {"nano": {"vehicles": ["v2"], "width": 0.5, "fixed": ["perception/head:0"]}}
    fleet = make(vehicles=3, num_rounds=1, aggregation="submodels", profiles=profiles)
    fleet.run()
    assert fleet.store.refusals() == {}
    ends = [QuadraticTrainer(f"v{index}").descend(0.0, 0) for index in range(3)]
    body = weights(fleet)["perception/body"]
    np.testing.assert_allclose(body[:3, :2], np.mean(ends), rtol=1e-5)  # the leading half of both axes
    np.testing.assert_allclose(body[3:], np.mean(ends[:2]), rtol=1e-5)
    np.testing.assert_allclose(body[:, 2:], np.mean(ends[:2]), rtol=1e-5)
    np.testing.assert_allclose(weights(fleet)["perception/head"], np.mean(ends), rtol=1e-5)


def test_an_update_of_an_unknown_device_class_is_refused(make):
    profiles = {"nano": {"vehicles": ["v1"], "width": 0.5}}
    fleet = make("classes", vehicles=2, aggregation="submodels", profiles=profiles)
    other = make("others", vehicles=2, aggregation="submodels", profiles={"mini": profiles["nano"]})
    manifest, sealed = other.prepared("v1")
    other.sealing, fleet.sealing = fleet.sealing, other.sealing
    fleet.intake._sealing_key = fleet.sealing
    while fleet.engine.tick(fleet.now):
        pass
    assert fleet.send(manifest, sealed, fleet.keys["v1"]).reason == "wrong_layout"


def test_personal_heads_stay_on_their_vehicle_and_go_on_from_round_to_round(make):
    fleet = make(vehicles=2, num_rounds=3, personal=["*/head"])
    while not fleet.engine.finished:
        if fleet.random.random() < 0.2:
            fleet.start_client("v1")
        fleet.turn()
    trainers = [QuadraticTrainer("v0"), QuadraticTrainer("v1")]
    for index, trainer in enumerate(trainers):
        value = 0.0
        for _ in range(3):
            value = trainer.descend(value, 0)
        kept = fleet.clients[f"v{index}"].outbox.kept()["personal:perception/head"]
        np.testing.assert_allclose(kept, value, rtol=1e-5)
    sent = fleet.engine.gathering.pipelines.of(1).layout
    assert sent.names == ("perception/body",)
    assert not weights(fleet)["perception/head"].any()  # the fleet's own is as it was shipped


def test_data_quality_weighs_updates(make):
    fleet = make(vehicles=2, num_rounds=1, weighting="data_quality")
    fleet.clients["v1"]._trainer.quality = 0.25
    fleet.run()
    ends = [QuadraticTrainer(f"v{index}").descend(0.0, 0) for index in range(2)]
    expected = np.average(ends, weights=[1.0, 0.25])
    np.testing.assert_allclose(weights(fleet)["perception/head"], expected, rtol=1e-5)


def test_a_round_asks_a_sample_of_the_fleet_that_the_seed_decides(make):
    chosen = {}
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        fleet = make(name, vehicles=6, vehicles_per_round=2, num_rounds=4, seed=seed)
        fleet.run()
        assert all(r.phase is Phase.RELEASED and len(r.participants) == 2 for r in fleet.store.rounds("main"))
        chosen[name] = [tuple(r.selected) for r in fleet.store.rounds("main")]
    assert chosen["one"] == chosen["again"] != chosen["other"]
    assert len(set(chosen["one"])) > 1
