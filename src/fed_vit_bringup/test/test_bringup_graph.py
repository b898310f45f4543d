"""The graph as data: names, order, remappings, arguments."""

import pytest

from fed_vit_autorl.edge.topics import TOPICS, VEHICLE_NODES
from fed_vit_bringup.arguments import parse_arguments
from fed_vit_bringup.graph import (
    LAUNCHES,
    Arguments,
    CarlaArguments,
    FleetArguments,
    Graph,
    NodeSpec,
    carla_graph,
    carla_sensors,
    fleet_graph,
    replay_graph,
    vehicle_graph,
)
from fed_vit_bringup.order import State, Step, due, is_up


def chain(*lifecycle: bool, autostart: bool = True) -> Graph:
    nodes = tuple(NodeSpec("p", "e", f"n{index}", "/", lifecycle=flag) for index, flag in enumerate(lifecycle))
    return Graph(nodes, autostart)


def test_a_vehicle_is_the_five_nodes_of_the_table_with_the_shield_first():
    graph = vehicle_graph(Arguments(namespace="car"))
    assert {node.name for node in graph.nodes} == set(VEHICLE_NODES)
    assert graph.nodes[0].full_name == "/car/safety"
    assert all(node.lifecycle and node.respawn for node in graph.nodes)


def test_without_learning_there_is_no_client_and_with_it_driving_does_not_wait_for_it():
    assert "client" not in {node.name for node in fleet_graph().nodes}
    assert [node.name for node in carla_graph().nodes][-2:] == ["adapter", "client"]


def test_the_default_namespace_is_the_documented_one():
    assert {node.namespace for node in vehicle_graph().nodes} == {"/autonomous_vehicle"}


def test_carla_sensors_are_topics_of_the_table_that_drivers_publish():
    assert set(carla_sensors("ego")) == {name for name, topic in TOPICS.items() if topic.publisher == "driver"}
    assert carla_sensors("hero")["camera/image"] == "/carla/hero/rgb_front/image"


def test_a_fleet_gives_each_vehicle_its_own_namespace_and_role_and_starts_the_world_last():
    graph = fleet_graph(FleetArguments(namespace="/sim", vehicles=2))
    assert graph.node("/sim/vehicle_2/adapter").parameters["role"] == "vehicle_2"
    assert ("lidar/points", "/carla/vehicle_1/lidar") in graph.node("/sim/vehicle_1/safety").remappings
    assert graph.nodes[-1].name == "world"
    assert graph.nodes[-1].required
    assert graph.nodes[-1].parameters["vehicles"] == ["vehicle_1", "vehicle_2"]


def test_parameters_reach_the_one_node_they_are_meant_for():
    graph = fleet_graph(parameters={"vehicle_1": {"perception": {"threads": 1}}, "world": {"world": {"seed": 7}}})
    assert graph.node("/vehicle_1/perception").parameters["threads"] == 1
    assert "threads" not in graph.node("/vehicle_2/perception").parameters
    assert graph.node("/world").parameters["seed"] == 7


def test_a_replay_learns_nothing_and_ends_with_its_player():
    graph = replay_graph()
    assert "client" not in {node.name for node in graph.nodes}
    assert not any(node.respawn for node in graph.nodes)
    assert graph.nodes[-1].required
    assert not graph.nodes[-1].lifecycle


def test_a_replay_does_not_depend_on_the_machines_speed():
    perception = replay_graph().node("/replay/perception")
    assert dict(perception.remappings)["latency/report"] not in TOPICS
    assert perception.parameters["target_fps"] == 1.0


def test_simulated_time_reaches_every_node_of_a_vehicle_in_carla():
    assert all(node.parameters["use_sim_time"] is True for node in carla_graph(CarlaArguments()).nodes)


def test_a_parameter_file_of_the_user_comes_last():
    for node in vehicle_graph(Arguments(params_file="/tmp/mine.yaml")).nodes:
        assert node.parameters_files[-1] == "/tmp/mine.yaml"


def test_two_nodes_of_one_name_are_refused():
    with pytest.raises(ValueError, match="/car/safety"):
        vehicle_graph(Arguments(namespace="/car")) + vehicle_graph(Arguments(namespace="/car"))


@pytest.mark.parametrize("name", LAUNCHES)
def test_every_graph_has_the_six_documented_arguments(name):
    fields = LAUNCHES[name].arguments.__dataclass_fields__
    assert {"namespace", "params_file", "use_sim_time", "autostart", "use_respawn", "log_level"} <= set(fields)
    assert all(field.metadata["help"] for field in fields.values())


def test_arguments_are_read_from_text():
    arguments = parse_arguments(FleetArguments, {"vehicles": "3", "use_respawn": "False", "namespace": "/x"})
    assert (arguments.vehicles, arguments.use_respawn, arguments.namespace) == (3, False, "/x")


@pytest.mark.parametrize(
    ("given", "said"), [({"vehicels": "2"}, "vehicels"), ({"vehicles": "two"}, "two"), ({"autostart": "1"}, "true")]
)
def test_a_wrong_argument_is_named(given, said):
    with pytest.raises(ValueError, match=said):
        parse_arguments(FleetArguments, given)


def test_lifecycle_processes_start_side_by_side_and_plain_nodes_wait_for_their_turn():
    graph = chain(True, True, False)
    absent = dict.fromkeys(("/n0", "/n1", "/n2"), State.ABSENT)
    assert [(node.name, step) for node, step in due(graph, absent)] == [("n0", Step.START), ("n1", Step.START)]


def test_activation_follows_the_graphs_order():
    graph = chain(True, True, False)
    states = {"/n0": State.UNCONFIGURED, "/n1": State.INACTIVE, "/n2": State.ABSENT}
    assert [(node.name, step) for node, step in due(graph, states)] == [("n0", Step.CONFIGURE)]
    states["/n0"] = State.ACTIVE
    assert [(node.name, step) for node, step in due(graph, states)] == [("n1", Step.ACTIVATE)]
    states["/n1"] = State.ACTIVE
    assert [(node.name, step) for node, step in due(graph, states)] == [("n2", Step.START)]
    states["/n2"] = State.ACTIVE
    assert due(graph, states) == []
    assert is_up(graph, states)


def test_without_autostart_processes_start_and_nothing_else_happens():
    graph = chain(True, False, autostart=False)
    assert [step for _, step in due(graph, {"/n0": State.ABSENT, "/n1": State.ABSENT})] == [Step.START, Step.START]
    states = {"/n0": State.UNCONFIGURED, "/n1": State.ACTIVE}
    assert due(graph, states) == []
    assert is_up(graph, states)
