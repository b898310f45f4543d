"""Every node's YAML names parameters that the node has, with values of their types, and the graph finds the file."""

from importlib import import_module
from pathlib import Path

import pytest
import yaml

from fed_vit_autorl.simulation.lidar import LidarSpec
from fed_vit_autorl.simulation.rendering import CameraSpec
from fed_vit_bringup.graph import Arguments, FleetArguments, fleet_graph

CONFIG = Path(__file__).parents[1] / "config"
# Where each node's parameters are declared.
SCHEMAS = {
    "perception": "fed_vit_perception.node:Parameters",
    "policy": "fed_vit_policy.node:Parameters",
    "safety": "fed_vit_safety.node:Parameters",
    "client": "fed_vit_client.node:Parameters",
    "adapter": "fed_vit_sim.integration:AdapterParameters",
    "world": "fed_vit_sim.world_parameters:WorldParameters",
}


def schema_of(name):
    module, _, attribute = SCHEMAS[name].partition(":")
    return getattr(import_module(module), attribute)


@pytest.mark.parametrize("name", ["perception", "client", "safety"])
def test_sensors_are_where_the_embedded_world_mounts_them(name):
    given = yaml.safe_load((CONFIG / f"{name}.yaml").read_text())[f"/**/{name}"]["ros__parameters"]
    mounts = {"lidar_position": LidarSpec().base_from_lidar, "camera_position": CameraSpec().model.base_from_camera}
    for parameter, mount in mounts.items():
        if parameter in given:
            assert given[parameter] == mount[:3, 3].tolist()
            assert getattr(schema_of(name)(), parameter) == given[parameter]


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_nodes_file_names_parameters_that_it_has(name):
    schema = schema_of(name)
    given = yaml.safe_load((CONFIG / f"{name}.yaml").read_text())[f"/**/{name}"]["ros__parameters"]
    unknown = set(given) - set(schema.__dataclass_fields__)
    assert not unknown
    defaults = schema()
    for key, value in given.items():
        assert type(value) is type(getattr(defaults, key)), key
        bounds = schema.__dataclass_fields__[key].metadata["bounds"]
        assert bounds is None or bounds.lower <= value <= bounds.upper, key


def test_the_graph_hands_every_node_its_file():
    graph = fleet_graph(FleetArguments(vehicles=1, learning=True))
    for node in graph.nodes:
        if (CONFIG / f"{node.name}.yaml").exists():
            assert Path(node.parameters_files[0]).name == f"{node.name}.yaml"
    assert {node.name for node in graph.nodes} >= set(SCHEMAS)


def test_what_a_graph_sets_is_a_parameter_of_the_node():
    for node in fleet_graph(FleetArguments(vehicles=1, learning=True)).nodes:
        if node.name in SCHEMAS:
            fields = schema_of(node.name).__dataclass_fields__
            assert set(node.parameters) - {"use_sim_time"} <= set(fields), node.full_name


def test_log_level_and_namespace_reach_every_node():
    arguments = Arguments(namespace="x/", log_level="debug")
    assert arguments.common("safety", {})["namespace"] == "/x"
    assert arguments.common("safety", {})["log_level"] == "debug"
