"""Combinations that cannot work are refused when a configuration is loaded; the others are not."""

import numpy as np
import pytest
import yaml

from fed_vit_autorl.deployment.config_file import from_mapping
from fed_vit_autorl.deployment.fleet_config import FleetConfig, load
from fed_vit_autorl.federated.combinations import FleetPlan, check_combination
from fed_vit_autorl.federated.pipeline import Pipeline
from fed_vit_autorl.federated.refusal import ConfigurationReason, ConfigurationRefused, UpdateReason, UpdateRefused
from fed_vit_autorl.federated.stages import STAGES
from fed_vit_autorl.federated.strategies import STRATEGIES
from fed_vit_autorl.federated.update import Layout, Update, UpdateMetadata
from fed_vit_autorl.privacy.ledger import epsilon_of
from fed_vit_autorl.privacy.secagg import SecAggClient, SecAggServer

MASK = {"secure_mask": {"num_vehicles": 10, "threshold": 6}}
SECURE = {"vehicles_per_round": 10, "min_vehicles": 6}
PLAIN = {"compression": "none", "quantization_bits": 32}
CENTRAL = {"central_dp": {"noise_multiplier": 1.0, "expected_vehicles": 10}}


@pytest.mark.parametrize("aggregation", ["fedavg", "median", "krum", {"trust_cosine": {"alpha": 0.2}}, "fedadam"])
@pytest.mark.parametrize("mechanism", ["none", "local_dp"])
def test_a_fleets_file_may_name_any_strategy(aggregation, mechanism):
    content = {"federation": {"aggregation": aggregation, "num_rounds": 5}, "privacy": {"mechanism": mechanism}}
    config = from_mapping(content, FleetConfig)
    config.check()
    assert (config.stages[0].keys() == {"dp_noise"}) == (mechanism == "local_dp")


def test_central_privacy_wraps_the_strategy_and_costs_its_budget_over_all_rounds():
    content = {"federation": {"aggregation": "fedavgm", "num_rounds": 5}, "privacy": {"mechanism": "central_dp"}}
    config = from_mapping(content, FleetConfig)
    config.check()
    release = STRATEGIES.build(config.strategy).private_release()
    assert 0.99 < epsilon_of([release] * 5, 1e-5) <= 1.0
    assert STRATEGIES.build("fedavg").private_release() is None


@pytest.mark.parametrize(
    "content",
    [
        {"privacy": {"mechanism": "homeopathy"}},
        {"federation": {"aggregation": "median"}, "privacy": {"mechanism": "central_dp"}},
        {"federation": {"aggregation": "fedavgg"}},
        {"federation": {"weighting": "loudness"}},
        {"communication": {"stages": ["top_k", "clip"]}},
        {"federation": {"aggregation": "median", "min_vehicles": 6}, "communication": {"stages": [MASK]}},
        {"federation": {"min_vehicles": 6}, "communication": {"stages": [MASK]}},
        {"federation": {"aggregation": "submodels"}},
        {"privacy": {"secure_aggregation": True}},
        {"federation": SECURE, "privacy": {"secure_aggregation": True}},
        {"federation": SECURE, "privacy": {"secure_aggregation": True}, "communication": {"compression": "random_k"}},
        {"federation": SECURE | {"min_vehicles": 5}, "privacy": {"secure_aggregation": True}, "communication": PLAIN},
        {
            "federation": SECURE | {"aggregation": "krum"},
            "privacy": {"secure_aggregation": True},
            "communication": PLAIN,
        },
        {
            "federation": SECURE | {"asynchronous": {"buffer_size": 2}},
            "privacy": {"secure_aggregation": True},
            "communication": PLAIN,
        },
        {
            "federation": SECURE,
            "privacy": {"secure_aggregation": True, "mechanism": "central_dp"},
            "communication": PLAIN,
        },
    ],
    ids=range(15),
)
def test_a_fleets_file_that_cannot_work_is_refused_when_it_is_loaded(content, tmp_path):
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigurationRefused):
        load(tmp_path / "fleet.yaml")


@pytest.mark.parametrize("compression", ["none", "random_k"])
@pytest.mark.parametrize("mechanism", ["none", "central_dp"])
def test_a_fleets_file_may_ask_for_secure_aggregation(mechanism, compression):
    content = {
        "federation": SECURE | {"num_rounds": 5, "weighting": "uniform"},
        "privacy": {"secure_aggregation": True, "mechanism": mechanism},
        "communication": PLAIN | {"compression": compression},
    }
    config = from_mapping(content, FleetConfig)
    config.check()
    assert config.mask.settings().threshold == 6
    noise = [stage["dp_noise"] for stage in config.stages if "dp_noise" in stage]
    if mechanism == "central_dp":
        # Six vehicles' parts make the whole noise, and five rounds of it the whole budget.
        assert noise[0]["vehicles"] == 6
        assert 0.99 < epsilon_of([config.round_cost] * 5, 1e-5) <= 1.0
    else:
        assert not noise
        assert config.round_cost is None


def plan(stages=(), strategy="fedavg", **options):
    options = {"vehicles_per_round": 10} | options
    return FleetPlan([STAGES.build(stage) for stage in stages], STRATEGIES.build(strategy), **options)


@pytest.mark.parametrize(
    "impossible",
    [
        plan([MASK], "median", min_vehicles=6),
        plan([MASK], {"scaffold": {"num_vehicles": 10}}, min_vehicles=6),
        plan([MASK], CENTRAL, min_vehicles=6),
        plan([MASK], asynchronous=True, min_vehicles=6),
        plan([MASK], min_vehicles=5),
        plan([MASK], "submodels", min_vehicles=6, profiles=1),
        plan([], "krum", asynchronous=True),
        plan([], CENTRAL, asynchronous=True),
        plan([{"dp_noise": {"noise_multiplier": 1.0, "vehicles": 5}}]),
        plan([{"dp_noise": {"noise_multiplier": 1.0, "vehicles": 7}}, MASK], min_vehicles=6),
        plan([{"dp_noise": {"noise_multiplier": 1.0}}], CENTRAL),
        plan(["clip", {"dp_noise": {"noise_multiplier": 1.0}}]),
        plan([MASK], min_vehicles=6, vehicles_per_round=11),
        plan([{"clip": {"norm": 2.0}}, MASK], min_vehicles=6),
        plan([{"dp_noise": {"noise_multiplier": 1.0, "vehicles": 6}}, MASK], min_vehicles=6, weighting="samples"),
        plan([], asynchronous=True, min_vehicles=3, buffer_size=4),
        plan([], {"scaffold": {"num_vehicles": 10}}, asynchronous=True),
        plan([], "submodels"),
        plan([], "fedavg", profiles=1),
    ],
    ids=range(19),
)
def test_impossible(impossible):
    with pytest.raises(ConfigurationRefused) as refused:
        check_combination(impossible)
    assert refused.value.reason == ConfigurationReason.IMPOSSIBLE_COMBINATION


@pytest.mark.parametrize(
    "possible",
    [
        plan(["clip", "top_k", "quantise"]),
        plan(["clip", "top_k", "quantise"], "bulyan"),
        plan(["top_k", "quantise"], asynchronous=True, min_vehicles=3, buffer_size=3),
        plan(["top_k", "quantise"], CENTRAL),
        plan(["clip", "random_k", MASK], "fedadam", min_vehicles=6),
        plan([{"dp_noise": {"noise_multiplier": 1.0, "vehicles": 6}}, MASK], min_vehicles=6, weighting="uniform"),
        plan([{"dp_noise": {"noise_multiplier": 1.0}}, "top_k"], "median"),
    ],
    ids=range(7),
)
def test_possible(possible):
    check_combination(possible)


@pytest.mark.parametrize("before", ["top_k", "quantise"])
def test_stages_whose_sums_mean_nothing_are_refused_before_a_mask(before):
    layout = Layout(("w",), ((100,),))
    with pytest.raises(ConfigurationRefused) as refused:
        Pipeline.from_config([before, MASK], layout)
    assert refused.value.reason in (ConfigurationReason.IMPOSSIBLE_COMBINATION, ConfigurationReason.STAGE_ORDER)


def test_a_mask_with_a_threshold_without_secrecy_is_refused():
    with pytest.raises(ConfigurationRefused) as refused:
        STAGES.build({"secure_mask": {"num_vehicles": 10, "threshold": 3}})
    assert refused.value.reason == ConfigurationReason.BAD_VALUE


def test_masked_updates_travel_the_pipeline_and_only_their_mean_comes_out():
    layout = Layout(("w",), ((400,),))
    mask = {"secure_mask": {"num_vehicles": 3, "threshold": 2}}
    specs = [{"clip": {"norm": 1.0}}, {"random_k": {"ratio": 0.25, "error_feedback": 0}}, mask]
    vehicles = {name: Pipeline.from_config(specs, layout) for name in ("a", "b", "c")}
    assert vehicles["a"].sent == 100
    settings = vehicles["a"].mask.settings()
    server, session = SecAggServer(b"s", settings, 100), b"s"
    clients = {name: SecAggClient(name, session, settings, lambda _: b"", lambda *_: True) for name in vehicles}
    for client in clients.values():
        server.add_advertisement(client.advertise())
    for client in clients.values():
        server.add_shares(client.share(server.roster()))
    generator, plain = np.random.default_rng(0), []
    aggregator = Pipeline.from_config(specs, layout)
    for name in ("a", "b"):
        update = Update({"w": generator.normal(size=400).astype(np.float32)}, UpdateMetadata(3, 1, name, 0))
        clients[name].collect(server.inbox(name))
        data = vehicles[name].encode(update, clients[name].mask)
        metadata, words = aggregator.decode_masked(data)
        with pytest.raises(UpdateRefused):
            aggregator.decode(data)
        server.add_masked(metadata.vehicle, words)
        readable = Pipeline.from_config(specs[:-1], layout)
        plain.append(readable.decode(readable.encode(update)).tensors["w"])
    for name in ("a", "b"):
        server.add_reply(clients[name].unmask(server.request()))
    mean, weight = server.finish()
    result = aggregator.decode_mean(mean, UpdateMetadata(3, 1, "all", 0))
    np.testing.assert_allclose(result.tensors["w"], np.mean(plain, axis=0), atol=1e-6)
    assert weight == 2


def test_a_mask_without_a_session_is_refused():
    layout = Layout(("w",), ((4,),))
    with pytest.raises(UpdateRefused) as refused:
        Pipeline.from_config([MASK], layout).encode(Update({"w": np.ones(4)}, UpdateMetadata(0, 0, "v", 1)))
    assert refused.value.reason == UpdateReason.NO_SESSION
