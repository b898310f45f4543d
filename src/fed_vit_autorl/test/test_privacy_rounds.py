"""The aggregator asks the ledger before a round."""

from fed_vit_autorl.deployment.config_file import from_mapping
from fed_vit_autorl.deployment.fleet_config import FleetConfig
from fed_vit_autorl.federated.cloud.records import Phase
from fed_vit_autorl.federated.cloud.rounds import RoundEngine
from fed_vit_autorl.federated.cloud.store import Store
from fed_vit_autorl.federated.virtual.vehicles import VirtualReleases
from fed_vit_autorl.privacy.ledger import PrivacyLedger
from fed_vit_autorl.privacy.release import Release

CONFIG = {
    "federation": {"num_rounds": 3, "vehicles_per_round": 2, "gather_s": 0.0},
    "privacy": {"mechanism": "central_dp", "epsilon": 2.0},
}


def engine(folder):
    store = Store(folder)
    releases = VirtualReleases(store, {"perception/w": (2,)})
    return RoundEngine(from_mapping(CONFIG, FleetConfig), store, releases, lambda: ["a", "b"], lambda *_: None)


def ledger(folder):
    return PrivacyLedger(folder / "privacy.sqlite", 2.0, 1e-5)


def test_every_round_is_entered_before_it_opens_and_the_last_one_fits(tmp_path):
    spent = []
    for _ in range(3):
        rounds = engine(tmp_path)
        assert rounds.tick(0.0)
        assert rounds.round.phase is Phase.OPEN
        spent.append(ledger(tmp_path).spent())
        rounds.stop_round()
    assert 0 < spent[0] < spent[1] < spent[2] <= 2.0
    assert spent[2] > 1.9


def test_a_round_that_would_overspend_does_not_open_and_the_run_pauses(tmp_path):
    ledger(tmp_path).authorise("an earlier run", Release(noise_multiplier=2.6))
    rounds = engine(tmp_path)
    assert not rounds.tick(0.0)
    assert rounds.round is None
    assert rounds.paused
