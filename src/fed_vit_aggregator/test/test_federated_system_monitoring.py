"""Alert rules and dashboard ask only for metrics that the aggregator exports."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from prometheus_client import generate_latest

from fed_vit_aggregator.metrics import registry
from fed_vit_autorl.federated.cloud.records import Phase, ReleaseRecord, StoredUpdate, VehicleRecord
from fed_vit_autorl.federated.cloud.store import Store

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
        releases=SimpleNamespace(reason=lambda version: "shadow", canary=None),
        keys=SimpleNamespace(repository=SimpleNamespace(expiries=lambda: {"root": datetime.now(UTC)})),
        engine=SimpleNamespace(privacy=(0.5, 1.0)),
        link=SimpleNamespace(connected=SimpleNamespace(is_set=lambda: True)),
        online=lambda: ["v1"],
        dropped=0,
    )
    yield generate_latest(registry(service)).decode()
    store.close()


class Query:
    """A parser of the part of PromQL that the rules and panels use (prometheus.io/docs, querying/basics)."""

    TOKEN = re.compile(
        r"""\s*(?:(?P<number>\d+(?:\.\d+)?(?:e\d+)?)|(?P<duration>\[\d+[smhdw]\])|(?P<string>"[^"]*")
        |(?P<word>[A-Za-z_]\w*)|(?P<sign>=~|!=|!~|==|>=|<=|[-+*/<>=(){},]))""",
        re.VERBOSE,
    )
    RATES, SUMS = ("rate", "increase"), ("sum", "max", "min", "avg", "count")
    SIGNS = ("+", "-", "*", "/", "<", ">", "<=", ">=", "==", "!=")

    def __init__(self, text: str) -> None:
        self.tokens, at = [], 0
        while at < len(text.rstrip()):
            found = self.TOKEN.match(text, at)
            assert found, f"no PromQL: {text[at:]!r}"
            self.tokens.append((found.lastgroup, found.group(found.lastgroup)))
            at = found.end()
        self.expression()
        assert not self.tokens, self.tokens

    def take(self, *wanted: str) -> str:
        assert self.tokens, "unexpected end"
        kind, value = self.tokens.pop(0)
        assert not wanted or value in wanted or kind in wanted, (value, wanted)
        return value

    def sees(self, *values: str) -> bool:
        return bool(self.tokens) and (self.tokens[0][1] in values or self.tokens[0][0] in values)

    def expression(self) -> None:
        self.term()
        while self.sees(*self.SIGNS):
            self.take()
            self.term()

    def term(self) -> None:
        if self.sees("number", "("):
            if self.take() == "(":
                self.expression()
                self.take(")")
            return
        word = self.take("word")
        if word in self.SUMS:
            if self.sees("by"):
                self.take()
                self.take("(")
                self.take("word")
                self.take(")")
            self.take("(")
            self.expression()
            self.take(")")
        elif word in self.RATES:
            self.take("(")
            self.selector(self.take("word"))
            self.take("duration")
            self.take(")")
        else:
            self.selector(word)

    def selector(self, name: str) -> None:
        assert name == "up" or name.startswith("fedvit_"), name
        if self.sees("{"):
            self.take()
            while not self.sees("}"):
                self.take("word")
                self.take("=", "!=", "=~", "!~")
                self.take("string")
                if self.sees(","):
                    self.take()
            self.take("}")


def rules() -> list[dict]:
    return yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]


def panels() -> list[dict]:
    return json.loads((MONITORING / "grafana_dashboard.json").read_text())["panels"]


@pytest.mark.parametrize(
    "text", ["fedvit_a >", "rate(fedvit_a)", "fedvit_a{b=c}", "sum by reason (fedvit_a)", "(fedvit_a"]
)
def test_what_is_no_query_is_not_taken(text):
    with pytest.raises(AssertionError):
        Query(text)


def test_rules_and_panels_are_queries():
    for expression in [rule["expr"] for rule in rules()] + [t["expr"] for panel in panels() for t in panel["targets"]]:
        Query(expression)


def test_alerts_name_labels_that_their_metric_has(exported):
    labels = {name: set() for name in names(exported)}
    for name, inside in re.findall(r"^(fedvit_\w+){([^}]*)}", exported, re.MULTILINE):
        labels[name] = set(re.findall(r"(\w+)=", inside))
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
        named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        known = set().union(*(labels[name] for name in names(rule["expr"])))
        assert named <= known, rule["alert"]
        functions = set(re.findall(r"\|\s*(\w+)", rule["annotations"]["summary"]))
        assert functions <= {"humanize", "humanize1024", "humanizeDuration", "humanizePercentage"}


def test_panels_do_not_overlap_and_have_numbers_of_their_own():
    cells = [
        (x, y)
        for panel in panels()
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in panels()}) == len(panels())


def names(expression: str) -> set[str]:
    return set(re.findall(r"\bfedvit_\w+", expression))


def test_what_they_ask_for_is_exported(exported):
    asked = {name for rule in rules() for name in names(rule["expr"])}
    asked |= {name for panel in panels() for target in panel["targets"] for name in names(target["expr"])}
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
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
