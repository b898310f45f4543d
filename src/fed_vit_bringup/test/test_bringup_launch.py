"""The launch files describe the graph that the supervisor starts.

``launch`` is not on PyPI, so its actions are recorded doubles here.
"""

import importlib.util
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from fed_vit_bringup import launch_graph
from fed_vit_bringup.graph import LAUNCHES, NodeSpec
from fed_vit_bringup.launch_graph import LaunchApi, describe, graph_actions
from fed_vit_bringup.order import Step
from fed_vit_bringup.process import ros_arguments

LAUNCH_FILES = sorted(Path(__file__).parents[3].glob("launch/*.launch.py"))


@dataclass
class Recorded:
    """A call of one of launch's types: its name and arguments."""

    kind: str
    args: tuple
    kwargs: dict = field(default_factory=dict)


@pytest.fixture
def api() -> LaunchApi:
    def record(kind: str) -> Any:
        return lambda *args, **kwargs: Recorded(kind, args, kwargs)

    doubles = {item.name: record(item.name) for item in fields(LaunchApi)}
    return LaunchApi(**{**doubles, "StateTransition": SimpleNamespace, "matches_action": lambda action: action})


def launched_nodes(description: Recorded, given: dict[str, str]) -> list[Recorded]:
    """Every node that a launch description would start, as if each came up at once."""
    *declared, resolve = description.args[0]
    defaults = {item.args[0]: item.kwargs["default_value"] for item in declared}
    waiting = list(resolve.kwargs["function"](SimpleNamespace(launch_configurations={**defaults, **given})))
    found, handlers = [], []
    while waiting:
        action = waiting.pop(0)
        if action.kind == "RegisterEventHandler":
            handlers.append(action.args[0])
        elif action.kind in ("Node", "LifecycleNode"):
            found.append(action)
            for handler in handlers:
                if handler.kind == "OnProcessStart" and handler.kwargs["target_action"] is action:
                    waiting += handler.kwargs["on_start"](None, None)
        elif action.kind == "EmitEvent":
            change = action.kwargs["event"].kwargs
            goal = {1: "inactive", 3: "active"}[change["transition_id"]]
            event = SimpleNamespace(action=change["lifecycle_node_matcher"], goal_state=goal)
            for handler in handlers:
                if handler.kind == "EventHandler" and handler.kwargs["matcher"](event):
                    (entity,) = handler.kwargs["entities"]
                    waiting += entity.kwargs["function"](SimpleNamespace(locals=SimpleNamespace(event=event)))
    return found


def supervised(spec: NodeSpec, folder: Path) -> dict:
    """What the supervisor gives the node's process, read back from its command line."""
    arguments = ros_arguments(spec, folder / "own.yaml")
    pairs = list(pairwise(arguments))
    remaps = [value.split(":=", 1) for flag, value in pairs if flag == "-r"]
    return {
        "package": spec.package,
        "executable": spec.executable,
        "name": next(value for key, value in remaps if key == "__node"),
        "namespace": next(value for key, value in remaps if key == "__ns"),
        "remappings": [(key, value) for key, value in remaps if not key.startswith("__")],
        "parameters": [*[value for flag, value in pairs if flag == "--params-file"][:-1], dict(spec.parameters)],
        "ros_arguments": ["--log-level", next(value for flag, value in pairs if flag == "--log-level")],
        "respawn": spec.respawn,
        "cwd": spec.folder,
        "prefix": {"client": "nice -n 15", "latency": "nice -n 5"}.get(spec.name),
        "additional_env": spec.environment,
        "lifecycle": spec.lifecycle,
    }


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.stem)
def test_a_launch_file_starts_what_the_supervisor_starts(path, api, tmp_path, monkeypatch):
    mine = tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump({"/**": {"ros__parameters": {}}}))
    given = {"namespace": "/yard", "params_file": str(mine), "use_respawn": "true", "log_level": "debug"}
    name = path.name.removesuffix(".launch.py")
    graph = LAUNCHES[name].build(
        LAUNCHES[name].arguments(namespace="/yard", params_file=str(mine), use_respawn=True, log_level="debug")
    )
    monkeypatch.setattr(LaunchApi, "real", classmethod(lambda cls: api))
    module_spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    launched = {}
    for action in launched_nodes(module.generate_launch_description(), given):
        told = {**action.kwargs, "lifecycle": action.kind == "LifecycleNode"}
        launched[f"{told['namespace'].rstrip('/')}/{told['name']}"] = told
    started = {spec.full_name: supervised(spec, tmp_path) for spec in graph.nodes}
    assert launched.keys() == started.keys()
    for full_name, expected in started.items():
        assert {key: launched[full_name][key] for key in expected} == expected


def test_there_is_a_launch_file_for_every_graph():
    assert {path.name.removesuffix(".launch.py") for path in LAUNCH_FILES} == set(LAUNCHES)


def test_a_description_declares_the_graphs_arguments_with_their_defaults(api):
    declared = {item.args[0]: item.kwargs["default_value"] for item in describe("fleet", api).args[0][:-1]}
    assert declared["vehicles"] == "2"
    assert declared["use_sim_time"] == "true"


def test_a_respawned_node_is_configured_until_it_hears(api):
    graph = LAUNCHES["vehicle"].build()
    actions = graph_actions(graph, api)
    action = next(item for item in actions if item.kind == "LifecycleNode" and item.kwargs["name"] == "policy")
    handlers = [item.args[0] for item in actions if item.kind == "RegisterEventHandler"]
    on = {item.kind: item for item in handlers if item.kwargs.get("target_action") is action}
    configure = launch_graph.TRANSITION_IDS[Step.CONFIGURE]
    for _ in range(2):
        change, retry = on["OnProcessStart"].kwargs["on_start"](None, None)
        assert change.kwargs["event"].kwargs == {"lifecycle_node_matcher": action, "transition_id": configure}
        (again,) = retry.kwargs["actions"]
        assert again.kwargs["function"](None)[0].kwargs["event"].kwargs["transition_id"] == configure
        on["OnProcessExit"].kwargs["on_exit"](None, None)
