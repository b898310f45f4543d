"""`FederatedVehicleRL` as its users call it."""

import numpy as np
import pytest
import torch

from fed_vit_autorl.data.sample import CameraModel, Labels, Sample
from fed_vit_autorl.federated.refusal import AggregationRefused, ConfigurationRefused
from fed_vit_autorl.federated.research.facade import FederatedVehicleRL
from fed_vit_autorl.federated.research.perception_figures import perception_figures
from fed_vit_autorl.models.perception import ViTPerception
from fed_vit_autorl.privacy.refusal import PrivacyRefused
from fed_vit_autorl.privacy.secagg import SecAggRefused

TARGET = torch.tensor([[1.0, -2.0]])


def learn(model, vehicle):
    """A few steps towards the linear map that all vehicles see through noise of their own."""
    generator = torch.Generator().manual_seed(vehicle)
    inputs = torch.randn(64, 2, generator=generator)
    targets = inputs @ TARGET.T + 0.1 * torch.randn(64, 1, generator=generator)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(10):
        optimiser.zero_grad()
        torch.nn.functional.mse_loss(model(inputs), targets).backward()
        optimiser.step()


def rounds(federation, count, vehicles=5):
    for _ in range(count):
        updates = []
        for vehicle in range(vehicles):
            model = federation.get_vehicle_model(vehicle)
            learn(model, vehicle)
            updates.append(federation.vehicle_update(vehicle, model, samples=64, data_quality=0.9))
        federation.federated_update(federation.aggregate_updates(updates, weighted_by="data_quality"))


def start():
    model = torch.nn.Linear(2, 1)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    return model


@pytest.mark.parametrize("mechanism", ["none", "secure_aggregation"])
@pytest.mark.parametrize("aggregation", ["fedavg", {"fedavgm": {"momentum": 0.3}}])
def test_the_fleet_learns(aggregation, mechanism):
    federation = FederatedVehicleRL(start(), 5, aggregation, mechanism, clip_norm=10.0)
    rounds(federation, 8)
    torch.testing.assert_close(federation.model.weight.detach(), TARGET, atol=0.1, rtol=0)
    assert federation.round == 8


def test_masked_and_open_means_are_the_same():
    models = []
    for mechanism in ("none", "secure_aggregation"):
        federation = FederatedVehicleRL(start(), 5, "fedavg", mechanism, clip_norm=10.0)
        rounds(federation, 2)
        models.append(federation.model.weight.detach())
    torch.testing.assert_close(*models, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mechanism", ["local_dp", "central_dp"])
def test_a_large_budget_adds_little_noise_and_a_small_one_much(mechanism):
    distances = []
    for epsilon in (1e4, 0.5):
        federation = FederatedVehicleRL(start(), 5, privacy_mechanism=mechanism, epsilon=epsilon, num_rounds=1)
        rounds(federation, 1)
        plain = FederatedVehicleRL(start(), 5, num_rounds=1)
        rounds(plain, 1)
        distances.append((federation.model.weight - plain.model.weight).norm().item())
    assert distances[0] < 0.15 < distances[1]


def test_weights_are_those_asked_for():
    federation = FederatedVehicleRL(start(), 2, clip_norm=10.0)
    updates = []
    for vehicle, (value, samples, quality) in enumerate([(1.0, 10, 1.0), (4.0, 30, 0.0)]):
        model = federation.get_vehicle_model(vehicle)
        torch.nn.init.constant_(model.weight, value)
        updates.append(federation.vehicle_update(vehicle, model, samples, data_quality=quality))
    for weighted_by, expected in (("uniform", 2.5), ("samples", 3.25), ("data_quality", 1.0)):
        np.testing.assert_allclose(federation.aggregate_updates(updates, weighted_by)["weight"], expected, rtol=1e-6)


def test_evaluation_reports_figures_and_latency():
    federation = FederatedVehicleRL(start(), 2, evaluate=lambda model: {"mAP": model.weight.sum().item()})
    figures = federation.evaluate_global_model()
    assert figures["mAP"] == 0
    assert figures["latency"] >= 0
    with pytest.raises(ValueError, match="evaluate"):
        FederatedVehicleRL(start(), 2).evaluate_global_model()


def test_a_perception_model_is_measured_on_labelled_samples():
    image = np.full((32, 64, 3), 128, np.uint8)
    labels = Labels.unknown(32, 64, boxes=np.array([[4, 4, 20, 20]], np.float32), classes=np.zeros(1, np.int64))
    sample = Sample(image, CameraModel.nominal(64, 32), labels=labels, source="v", domain="noon")
    model = ViTPerception((32, 64), 16, num_classes=0, embed_dim=24, depth=1, num_heads=2, head_width=16).train()
    figures = FederatedVehicleRL(model, 2, evaluate=perception_figures([sample] * 2)).evaluate_global_model()
    assert figures.keys() == {"mAP", "mAP50", "latency"}
    assert 0 <= figures["mAP"] <= figures["mAP50"] <= 1
    assert figures["latency"] > 0
    assert model.training
    with pytest.raises(TypeError):
        FederatedVehicleRL(start(), 2, evaluate=perception_figures([sample])).evaluate_global_model()


def test_what_cannot_work_is_refused():
    with pytest.raises(ConfigurationRefused):
        FederatedVehicleRL(start(), 2, aggregation="fedavgg")
    with pytest.raises(PrivacyRefused):
        FederatedVehicleRL(start(), 2, privacy_mechanism="hope")
    with pytest.raises(AggregationRefused):
        FederatedVehicleRL(start(), 5, aggregation="median", privacy_mechanism="secure_aggregation")
    with pytest.raises(IndexError):
        FederatedVehicleRL(start(), 2).get_vehicle_model(2)
    federation = FederatedVehicleRL(start(), 5, privacy_mechanism="secure_aggregation", clip_norm=10.0)
    with pytest.raises(SecAggRefused):
        rounds(federation, 1, vehicles=3)  # four of five must take part
