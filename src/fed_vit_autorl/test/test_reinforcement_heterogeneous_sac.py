"""One actor on unequal devices: their forms, and that what each learns comes together."""

import numpy as np
import pytest
import torch

from fed_vit_autorl.reinforcement.algorithms.heterogeneous_sac import DeviceRefused, HeterogeneousSAC
from fed_vit_autorl.reinforcement.algorithms.off_policy import OffPolicyConfig, SquashedGaussianActor

DEVICES = {"orin": "full", "xavier": "quantized", "nano": "pruned"}


def fleet() -> HeterogeneousSAC:
    torch.manual_seed(0)
    return HeterogeneousSAC(SquashedGaussianActor(3, 1, 16), DEVICES)


def layers(actor):
    return [module for module in actor.modules() if isinstance(module, torch.nn.Linear)]


def test_eight_bits_are_at_most_255_values_a_row():
    sac = fleet()
    quantized = sac.adapt_to_device("xavier")
    for layer, whole in zip(layers(quantized), layers(sac.full_model), strict=True):
        step = whole.weight.abs().amax(dim=1, keepdim=True) / 127
        numbers = layer.weight / step
        torch.testing.assert_close(numbers, numbers.round(), atol=1e-3, rtol=0.0)
        assert ((layer.weight - whole.weight).abs() <= 0.5 * step + 1e-7).all()


def test_the_pruned_actor_lacks_the_smallest_seventy_percent_and_stays_so():
    sac = fleet()
    learner = sac.learner("nano", OffPolicyConfig(hidden=16))
    weights = torch.cat([layer.weight.detach().flatten() for layer in layers(learner.actor)])
    whole = torch.cat([layer.weight.detach().flatten() for layer in layers(sac.full_model)])
    gone = weights == 0.0
    assert gone.float().mean().item() == pytest.approx(0.7, abs=0.01)
    assert whole[gone].abs().max() <= whole[~gone].abs().min()
    learner.improve(torch.rand(32, 3))
    after = torch.cat([layer.weight.detach().flatten() for layer in layers(learner.actor)])
    assert (after[gone] == 0.0).all()
    assert (after[~gone] != weights[~gone]).any()


def test_the_mean_is_over_those_that_have_the_weight():
    sac = fleet()
    actors = {device: sac.adapt_to_device(device) for device in DEVICES}
    mask = layers(actors["nano"])[0].weight != 0.0
    with torch.no_grad():
        for device, value in (("orin", 1.0), ("xavier", 2.0), ("nano", 6.0)):
            layer = layers(actors[device])[0]
            inner = layer.parametrizations.weight.original if device != "orin" else layer.weight
            inner.fill_(value)
            layer.bias.fill_(value)
    sac.aggregate([(actors["orin"], 1.0), (actors["xavier"], 1.0), (actors["nano"], 2.0)])
    mean = layers(sac.full_model)[0]
    assert mean.weight[mask].unique().tolist() == [3.75]  # (1 + 2 + 2 · 6) / 4
    assert mean.weight[~mask].unique().tolist() == [1.5]
    assert mean.bias.unique().tolist() == [3.75]


def test_what_only_pruned_devices_train_leaves_the_rest_as_it_was():
    sac = fleet()
    before = layers(sac.full_model)[1].weight.clone()
    pruned = sac.create_pruned_model()
    gone = layers(pruned)[1].weight == 0.0
    sac.aggregate([(pruned, 1.0)])
    assert torch.equal(layers(sac.full_model)[1].weight[gone], before[gone])


def test_three_kinds_of_devices_learn_together():
    """A bandit in which the action 0.5 is worth most."""
    torch.set_num_threads(1)
    sac, config = fleet(), OffPolicyConfig(hidden=16, learning_rate=0.02, gamma=0.0)
    generator = np.random.default_rng(0)
    learners = {device: sac.learner(device, config, seed) for seed, device in enumerate(DEVICES)}
    for _ in range(2):
        for device, learner in learners.items():
            # The critics stay on the device; the actor is the fleet's, as the device carries it.
            learner = sac.learner(device, config)
            for _ in range(100):
                observation = generator.normal(size=(64, 3)).astype(np.float32)
                action = generator.uniform(-1, 1, (64, 1)).astype(np.float32)
                reward = -4.0 * (action[:, 0] - 0.5) ** 2
                done = np.ones(64, np.float32)
                transition = {"observation": observation, "action": action, "reward": reward, "done": done}
                learner.learn(transition | {"next_observation": observation})
            learners[device] = learner
        sac.aggregate([(learner.actor, 1.0) for learner in learners.values()])
    for device in DEVICES:
        chosen = sac.learner(device, config).act(np.zeros(3, np.float32), explore=False)
        assert chosen[0] == pytest.approx(0.5, abs=0.2)


def test_unknown_devices_and_classes_are_refused():
    with pytest.raises(DeviceRefused, match="unknown_device_class"):
        HeterogeneousSAC(SquashedGaussianActor(3, 1, 16), {"toaster": "tiny"})
    with pytest.raises(DeviceRefused, match="unknown_device"):
        fleet().adapt_to_device("toaster")
