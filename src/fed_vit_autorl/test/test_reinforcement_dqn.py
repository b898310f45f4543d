"""Q-learning, replay and fusion: targets, priorities and trust by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fed_vit_autorl.reinforcement.algorithms import bench_lunarlander
from fed_vit_autorl.reinforcement.algorithms.dqn import DQN, VARIANTS, DQNConfig
from fed_vit_autorl.reinforcement.algorithms.fusion import DiversityFilter, average, fuse, trust_weights
from fed_vit_autorl.reinforcement.algorithms.lunarlander import Client, Outcome, due, solved
from fed_vit_autorl.reinforcement.algorithms.q_network import QNetwork
from fed_vit_autorl.reinforcement.algorithms.replay import PrioritisedReplayBuffer, ReplayBuffer, SumTree


def batch(reward: float, done: float, size: int = 1) -> dict[str, np.ndarray]:
    return {
        "observation": np.ones((size, 2), np.float32),
        "action": np.zeros(size, np.int64),
        "reward": np.full(size, reward, np.float32),
        "next_observation": np.ones((size, 2), np.float32),
        "done": np.full(size, done, np.float32),
    }


def with_values(learner: DQN, online: list[float], target: list[float]) -> DQN:
    """Constant action values, whatever the observation."""
    for network, values in ((learner.network, online), (learner.target, target)):
        network.vector[:] = 0.0
        network.layers[-1][1][:] = values
    return learner


class Reference(torch.nn.Module):
    """The same network by torch, with its gradients by autograd."""

    def __init__(self, network: QNetwork, actions: int) -> None:
        super().__init__()
        self.layers = torch.nn.ParameterList(torch.tensor(part) for layer in network.layers for part in layer)
        self.actions = actions

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        first, first_bias, second, second_bias, last, last_bias = self.layers
        features = torch.relu(torch.relu(observation @ first + first_bias) @ second + second_bias)
        outputs = features @ last + last_bias
        advantage, value = outputs[:, : self.actions], outputs[:, self.actions :]
        return value + advantage - advantage.mean(dim=1, keepdim=True) if value.shape[1] else advantage


@pytest.mark.parametrize(
    ("double", "done", "expected"),
    [
        (False, 0.0, 1.0 + 0.5 * 5.0),  # r + γ max_a Q'
        (True, 0.0, 1.0 + 0.5 * 2.0),  # r + γ Q'(argmax_a Q): the online network prefers action 0
        (False, 1.0, 1.0),  # nothing follows the end
    ],
)
def test_the_target_is_that_of_the_paper(double, done, expected):
    learner = with_values(DQN(2, 2, DQNConfig(gamma=0.5, double=double)), online=[3.0, 1.0], target=[2.0, 5.0])
    error = learner.learn(batch(1.0, done))
    assert error[0] == pytest.approx(3.0 - expected, abs=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_steps_are_those_of_autograd_and_torchs_adam(name):
    config = DQNConfig(**VARIANTS[name], hidden=32, gradient_norm=0.5)
    learner = DQN(5, 3, config, seed=2)
    reference = Reference(learner.network, 3)
    optimiser = torch.optim.Adam(reference.parameters(), config.learning_rate)
    generator = np.random.default_rng(0)
    for _ in range(30):
        data = {
            "observation": generator.normal(size=(16, 5)).astype(np.float32),
            "action": generator.integers(0, 3, 16),
            "reward": generator.normal(size=16).astype(np.float32) * 3,
            "next_observation": generator.normal(size=(16, 5)).astype(np.float32),
            "done": generator.integers(0, 2, 16).astype(np.float32),
            "weight": generator.random(16).astype(np.float32),
        }
        value = reference(torch.from_numpy(data["observation"]))[np.arange(16), data["action"]]
        errors = learner.learn(data)
        target = value.detach() - torch.from_numpy(errors)
        loss = torch.nn.functional.smooth_l1_loss(value, target, reduction="none") * torch.from_numpy(data["weight"])
        optimiser.zero_grad()
        loss.mean().backward()
        torch.nn.utils.clip_grad_norm_(reference.parameters(), config.gradient_norm)
        optimiser.step()
    expected = torch.cat([part.detach().flatten() for part in reference.parameters()]).numpy()
    np.testing.assert_allclose(learner.network.vector, expected, atol=2e-6)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_fits_a_bandit(name):
    config = replace(DQNConfig(learning_rate=5e-3, gamma=0.0, hidden=16), **VARIANTS[name])
    learner = DQN(2, 2, config)
    data = batch(0.0, 1.0, size=2)
    data["action"], data["reward"] = np.array([0, 1]), np.array([-1.0, 2.0], np.float32)
    for _ in range(300):
        learner.learn(data)
    values = learner.network(np.ones((1, 2)))[0]
    np.testing.assert_allclose(values, [-1.0, 2.0], atol=0.05)
    assert learner.act(np.ones(2)) == 1


def test_dueling_adds_value_and_centred_advantage():
    learner = with_values(DQN(2, 2, DQNConfig(dueling=True)), [3.0, 1.0, 10.0], [0.0, 0.0, 0.0])
    np.testing.assert_allclose(learner.network(np.ones((1, 2))), [[11.0, 9.0]])


def test_parameters_federate_as_plain_arrays():
    first, second = DQN(2, 3, seed=1), DQN(2, 3, seed=2)
    second.load(first.parameters())
    observation = np.random.default_rng(0).random((5, 2))
    np.testing.assert_array_equal(first.network(observation), second.network(observation))
    np.testing.assert_array_equal(second.target(observation), second.network(observation))


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=40), st.data())
def test_the_sum_tree_finds_what_a_cumulative_sum_finds(weights, data):
    tree = SumTree(len(weights))
    tree.set(np.arange(len(weights)), np.array(weights))
    assert tree.total == pytest.approx(sum(weights))
    target = data.draw(st.floats(0, sum(weights) * 0.999))
    expected = np.searchsorted(np.cumsum(weights), target, side="right")
    edges = np.concatenate([[0], np.cumsum(weights)])
    if np.abs(edges - target).min() > 1e-9:
        assert tree.find(np.array([target]))[0] == expected


def test_prioritised_sampling_follows_the_priorities_and_corrects_for_them():
    buffer = PrioritisedReplayBuffer(4, (1,), alpha=1.0, beta=1.0, seed=3)
    for index in range(4):
        buffer.add([index], 0, 0.0, [index], False)
    buffer.update(np.arange(4), np.array([1.0, 1.0, 2.0, 4.0]))
    drawn = buffer.sample(8000)
    share = np.bincount(drawn["index"], minlength=4) / 8000
    np.testing.assert_allclose(share, [0.125, 0.125, 0.25, 0.5], atol=0.01)
    # w = (N P)^-1 / max = 1/8 / P
    np.testing.assert_allclose(drawn["weight"], 0.125 / np.array([0.125, 0.125, 0.25, 0.5])[drawn["index"]], rtol=1e-3)


@pytest.mark.parametrize("kind", [ReplayBuffer, PrioritisedReplayBuffer])
def test_a_batch_is_stored_as_one_by_one(kind):
    one, whole = kind(4, (1,)), kind(4, (1,))
    for start in (0, 3):
        for index in range(start, start + 3):
            one.add([index], index, float(index), [index + 1], index == 5)
        stored = np.arange(start, start + 3)
        column = stored[:, None].astype(np.float32)
        fields = (column, stored, column[:, 0], column + 1, (stored == 5).astype(np.float32))
        names = ("observation", "action", "reward", "next_observation", "done")
        whole.extend(dict(zip(names, fields, strict=True)))
    for name, value in one.at(np.arange(4)).items():
        np.testing.assert_array_equal(whole.at(np.arange(4))[name], value)
    np.testing.assert_array_equal(one.sample(9)["reward"], whole.sample(9)["reward"])


def test_a_buffer_on_disk_goes_on_where_it_was(tmp_path):
    buffer = ReplayBuffer(3, (2,), folder=tmp_path)
    for index in range(4):
        buffer.add([index, 0], index, float(index), [0, index], index == 3)
    del buffer
    again = ReplayBuffer(3, (2,), folder=tmp_path)
    assert len(again) == 3
    np.testing.assert_array_equal(again.at(np.arange(3))["reward"], [3.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="other shapes"):
        ReplayBuffer(5, (2,), folder=tmp_path)


def test_priorities_on_disk_outlive_a_restart(tmp_path):
    buffer = PrioritisedReplayBuffer(4, (1,), folder=tmp_path, alpha=1.0)
    for index in range(3):
        buffer.add([index], 0, 0.0, [index], False)
    buffer.update(np.arange(3), np.array([1.0, 1.0, 6.0]))
    del buffer
    again = PrioritisedReplayBuffer(4, (1,), folder=tmp_path, alpha=1.0, seed=1)
    share = np.bincount(again.sample(4000)["index"], minlength=4) / 4000
    np.testing.assert_allclose(share, [0.125, 0.125, 0.75, 0.0], atol=0.01)
    assert again.add([3], 0, 0.0, [3], False) == 3
    assert again.sample(4000)["index"].max() == 3


def test_trust_is_the_positive_cosine():
    server = {"a": np.array([1.0, 0.0], np.float32)}
    clients = [{"a": np.array(row, np.float32)} for row in ([2.0, 0.0], [1.0, 1.0], [-1.0, 0.0])]
    root = np.sqrt(0.5)
    np.testing.assert_allclose(trust_weights(server, clients), [1 / (1 + root), root / (1 + root), 0.0], rtol=1e-6)
    fused = fuse(server, clients[:1], keep=0.25)
    np.testing.assert_allclose(fused["a"], [0.25 * 1 + 0.75 * 2, 0.0])
    np.testing.assert_allclose(average(clients)["a"], [2 / 3, 1 / 3], rtol=1e-6)


def test_a_repeated_transition_is_not_sent_again():
    chooser = DiversityFilter(threshold=0.15, samples=4)
    same = batch(0.0, 0.0, size=5)
    np.testing.assert_array_equal(chooser.keep(same), [True, False, False, False, False])
    far = batch(0.0, 0.0)
    far["observation"] = far["observation"] + 1.0
    assert chooser.keep(far).all()


def test_a_client_shares_each_transition_once():
    client = Client(DQNConfig(), seed=5)
    for _ in range(7):
        client.step()
    assert len(client.unshared()["reward"]) == 7
    assert len(client.unshared()["reward"]) == 0


def test_solved_needs_a_hundred_episodes_and_schedules_run_at_fifty_steps_a_second():
    assert not solved([300.0] * 99)
    assert solved([0.0] * 50 + [200.0] * 100)
    assert [tick for tick in range(1, 100) if due(tick, 0.5)] == [25, 50, 75]


def test_a_bench_goes_on_where_it_stopped_and_counts_no_run_of_other_settings(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_lunarlander, "KEPT", tmp_path)
    monkeypatch.setenv("FEDVIT_BENCH_SEEDS", "0")
    monkeypatch.setattr(bench_lunarlander, "run_local", lambda config, seed: Outcome(True, 300.0, 9, 200.0 + seed))
    row = bench_lunarlander.ROWS[0]
    bench_lunarlander.run(row, 0)
    bench_lunarlander.run(row, 3)
    rows = bench_lunarlander.bench_lunarlander()["rows"]
    assert (rows[0]["method"], rows[0]["reward"], rows[0]["seeds"]) == ("local double", 201.5, 2)
    assert rows[0]["reward_ci"] == pytest.approx([201.5 - 1.5 * 12.7062, 201.5 + 1.5 * 12.7062], abs=1e-3)
    assert (rows[1]["seeds"], rows[1]["reward"]) == (0, None)
    monkeypatch.setattr(bench_lunarlander, "VERSION", 2)
    assert bench_lunarlander.kept(row, 0) is None
