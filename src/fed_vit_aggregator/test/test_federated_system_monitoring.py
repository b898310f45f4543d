"""Alert rules and dashboard ask only for metrics that the aggregator exports."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from prometheus_client import generate_latest

from fed_vit_aggregator.metrics import registry
from fed_vit_autorl.federated.store import Phase, ReleaseRecord, Store, StoredUpdate, VehicleRecord

MONITORING = Path(__file__).resolve().parents[3] / "config" / "monitoring"


@pytest.fixture
def exported(tmp_path):
    """All that is exported once everything has happened."""
    store = Store(tmp_path)
    round_ = store.open_round("main", 1, 1, ["v1", "v2"])
    store.add_update(StoredUpdate("main", 1, 1, "v1", "0" * 64, 32, 100, {}, 0.0))
    store.advance(store.close_round(round_), Phase.RELEASED, release=2)
    store.add_release(ReleaseRecord(2, "0" * 64, "rollback", 1, "main", 1, {"map50": 0.5}, 0.0))
    store.count_refusal("v1", "bad_signature")
    store.seen(VehicleRecord("v1", True, "idle", 2))
    service = SimpleNamespace(
        store=store,
        config=SimpleNamespace(federation=SimpleNamespace(run="main")),
        releases=SimpleNamespace(reason=lambda version: "shadow"),
        engine=SimpleNamespace(privacy=(0.5, 1.0)),
        link=SimpleNamespace(connected=SimpleNamespace(is_set=lambda: True)),
        online=lambda: ["v1"],
        dropped=0,
    )
    yield generate_latest(registry(service)).decode()
    store.close()


def names(expression: str) -> set[str]:
    return set(re.findall(r"\bfedvit_\w+", expression))


def test_what_they_ask_for_is_exported(exported):
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
    panels = json.loads((MONITORING / "grafana_dashboard.json").read_text())["panels"]
    asked = {name for rule in rules for name in names(rule["expr"])}
    asked |= {name for panel in panels for target in panel["targets"] for name in names(target["expr"])}
    assert len(asked) >= 12
    assert asked <= names(exported)


def test_the_figures_are_those_of_the_store(exported):
    for line in (
        "fedvit_participation 0.5",
        'fedvit_rounds_total{outcome="released"} 1.0',
        'fedvit_refused_total{reason="bad_signature"} 1.0',
        'fedvit_release_figure{figure="map50"} 0.5',
        'fedvit_rollbacks_total{reason="shadow"} 1.0',
        "fedvit_privacy_spent 0.5",
    ):
        assert line in exported


def test_every_alert_says_what_it_means_and_how_bad_it_is():
    for rule in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
