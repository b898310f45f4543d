"""A fleet's file: defaults as documented, mistakes named with what was meant."""

import msgspec
import pytest

from fed_vit_autorl.deployment import fleet_config
from fed_vit_autorl.deployment.config_file import MAX_FILE_BYTES, from_mapping, load_yaml
from fed_vit_autorl.deployment.fleet_config import FleetConfig
from fed_vit_autorl.federated.refusal import ConfigurationRefused


def test_the_documented_defaults():
    config = FleetConfig()
    assert (config.federation.num_rounds, config.federation.vehicles_per_round) == (1000, 100)
    assert (config.federation.client_lr, config.federation.server_lr) == (0.001, 1.0)
    assert (config.privacy.epsilon, config.privacy.delta, config.privacy.clip_norm) == (1.0, 1e-5, 1.0)
    assert (config.communication.compression, config.communication.compression_ratio) == ("top_k", 0.01)
    assert (config.model.architecture, config.model.input_size, config.model.patch_size) == ("vit_base", 384, 16)
    assert (config.rl.algorithm, config.rl.gamma, config.rl.clip_epsilon) == ("ppo", 0.99, 0.2)
    assert (config.rl.value_coef, config.rl.entropy_coef) == (0.5, 0.01)


def test_the_shipped_file_is_the_defaults(tmp_path):
    path = tmp_path / "fleet.yaml"
    path.write_text("federation: {num_rounds: 7}\n")
    loaded = fleet_config.load(path, {"privacy.clip_norm": "2.5", "federation.run": "second"})
    assert (loaded.federation.num_rounds, loaded.privacy.clip_norm, loaded.federation.run) == (7, 2.5, "second")
    assert loaded.digest != FleetConfig().digest


def test_numbers_in_scientific_notation_need_neither_dot_nor_sign(tmp_path):
    path = tmp_path / "fleet.yaml"
    path.write_text("federation: {client_lr: 8e-4, server_lr: 2.e0, run: e4}\nprivacy: {clip_norm: 1E2}\n")
    loaded = fleet_config.load(path, {"privacy.delta": "1e-6", "federation.num_rounds": "12"})
    assert (loaded.federation.client_lr, loaded.federation.server_lr, loaded.privacy.clip_norm) == (8e-4, 2.0, 100.0)
    assert (loaded.privacy.delta, loaded.federation.num_rounds, loaded.federation.run) == (1e-6, 12, "e4")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"federation": {"num_round": 3}}, ["federation.num_round", "did you mean 'num_rounds'"]),
        ({"federaton": {}}, ["federaton", "did you mean 'federation'"]),
        ({"federation": {"num_rounds": 0}}, ["federation.num_rounds", ">= 1"]),
        ({"federation": {"num_rounds": "three"}}, ["federation.num_rounds", "int"]),
        ({"communication": {"compression_ratio": 1.5}}, ["communication.compression_ratio", "<= 1"]),
        ({"federation": 3}, ["federation must hold"]),
        ({"federation": {"asynchronous": {"bufer_size": 3}}}, ["asynchronous.bufer_size", "'buffer_size'"]),
        ({"federation": {"profiles": {"nano": {"vehicle": []}}}}, ["profiles.vehicle", "'vehicles'"]),
        ([], ["the file must hold"]),
    ],
)
def test_a_mistake_is_named_with_what_was_meant(content, words):
    with pytest.raises(ConfigurationRefused) as caught:
        from_mapping(content, FleetConfig)
    for word in words:
        assert word in str(caught.value)


def test_a_configuration_with_all_its_defaults_can_be_written_and_read_again(tmp_path):
    config = from_mapping({"federation": {"profiles": {"nano": {"vehicles": ["n-*"], "width": 0.5}}}}, FleetConfig)
    (tmp_path / "fleet.yaml").write_bytes(msgspec.yaml.encode(config))
    assert load_yaml(tmp_path / "fleet.yaml", FleetConfig) == config


def test_a_file_that_is_no_yaml_or_too_large_is_refused(tmp_path):
    path = tmp_path / "fleet.yaml"
    for content in ("a: [", "#" * (MAX_FILE_BYTES + 1)):
        path.write_text(content)
        with pytest.raises(ConfigurationRefused):
            fleet_config.load(path)
