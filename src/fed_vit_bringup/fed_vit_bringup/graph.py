"""The node graph, once, as plain data: the launch files and the supervisor both start what stands here.

Neither ``launch`` nor ``rclpy`` is imported, so that the graph can be read, tested and printed anywhere. The order of
the nodes in a graph is the order in which they come up; they stop in the reverse one.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ament_index_python.packages import get_package_share_directory

Value = bool | int | float | str | list

# The shield is up before anything can drive, and the last to go.
BRINGUP_ORDER = ("safety", "latency", "perception", "policy", "client")
# What watches and learns stands back from what drives.
NICENESS = {"latency": 5, "client": 15}


@dataclass(frozen=True)
class NodeSpec:
    """One process with one node.

    Attributes:
        package, executable: what ``ros2 run`` would be given.
        name, namespace: the namespace is absolute.
        parameters_files: later files override earlier ones.
        parameters: override the files.
        remappings: (from, to) pairs.
        lifecycle: the node is brought up by configure and activate.
        respawn: started again, with a growing delay, when its process dies.
        required: the whole graph stops when its process ends.
        niceness: how far the process stands back from the others where cores are few, 0 to 19.
        screen: what the process prints goes to the terminal instead of its log file.
        environment: added to the process's environment.
        folder: working folder of the process; relative paths in parameters start there.
        log_level: of the node's ROS logger.
    """

    package: str
    executable: str
    name: str
    namespace: str
    parameters_files: tuple[str, ...] = ()
    parameters: Mapping[str, Value] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()
    lifecycle: bool = True
    respawn: bool = False
    required: bool = False
    niceness: int = 0
    screen: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: str = "."
    log_level: str = "info"

    @property
    def full_name(self) -> str:
        """Namespace and name, as other nodes see it."""
        return f"{self.namespace.rstrip('/')}/{self.name}"

    @property
    def prefix(self) -> tuple[str, ...]:
        """What stands before the node's program on its command line."""
        return ("nice", "-n", str(self.niceness)) if self.niceness else ()


@dataclass(frozen=True)
class Graph:
    """Nodes in the order in which they come up, and whether they are brought up at all or left to the operator."""

    nodes: tuple[NodeSpec, ...]
    autostart: bool = True

    def __post_init__(self) -> None:
        names = [node.full_name for node in self.nodes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two nodes of the same name in one graph: {', '.join(twice)}")

    def __add__(self, other: "Graph") -> "Graph":
        return Graph(self.nodes + other.nodes, self.autostart and other.autostart)

    def node(self, full_name: str) -> NodeSpec:
        """The node of that full name; KeyError with the names there are if there is none."""
        found = next((node for node in self.nodes if node.full_name == full_name), None)
        if found is None:
            raise KeyError(
                f"no node {full_name} in this graph; there are: {', '.join(n.full_name for n in self.nodes)}"
            )
        return found


def home() -> Path:
    """The folder with ``config`` and ``releases``: the checkout where links lead there, else the package's share."""
    profile = Path(get_package_share_directory("fed_vit_bringup")) / "config" / "fastdds.xml"
    return profile.resolve().parents[1]


def middleware_environment() -> dict[str, str]:
    """Fast DDS drops large images without a profile: Jazzy reads the first variable, Kilted the second."""
    names = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
    profile = str(home() / "config" / "fastdds.xml")
    return {name: os.environ.get(name, profile) for name in names}


@dataclass(frozen=True)
class Arguments:
    """What every graph can be told; the same names on the command line of ``ros2 launch`` and of ``fedvit up``."""

    namespace: str = field(default="/autonomous_vehicle", metadata={"help": "namespace of the vehicle's nodes"})
    params_file: str = field(default="", metadata={"help": "YAML file with parameters that override config/*.yaml"})
    use_sim_time: bool = field(default=False, metadata={"help": "take the time from /clock"})
    autostart: bool = field(default=True, metadata={"help": "configure and activate the nodes in order"})
    use_respawn: bool = field(default=True, metadata={"help": "start a node again when its process dies"})
    log_level: str = field(default="info", metadata={"help": "debug, info, warn, error or fatal"})
    learning: bool = field(default=True, metadata={"help": "run the federated client, which needs an enrolment"})

    def common(self, name: str, parameters: Mapping[str, Value]) -> dict:
        """What these arguments mean for the node ``name``, whose own ``parameters`` come on top."""
        own = home() / "config" / f"{name}.yaml"
        files = (str(own),) if own.is_file() else ()
        return {
            "name": name,
            "namespace": "/" + self.namespace.strip("/"),
            "parameters_files": files + ((self.params_file,) if self.params_file else ()),
            "parameters": {"use_sim_time": self.use_sim_time, **parameters},
            "log_level": self.log_level,
            "environment": middleware_environment(),
            "folder": str(home()),
        }


def vehicle_graph(
    arguments: Arguments = Arguments(),
    *,
    sensors: Mapping[str, str] | None = None,
    parameters: Mapping[str, Mapping[str, Value]] | None = None,
) -> Graph:
    """The five nodes of one vehicle; four where it does not learn.

    Args:
        sensors: topics of the table that are published elsewhere, as {topic: where}; no copy is made of them.
        parameters: {node name: {parameter: value}} on top of the files.
    """
    nodes = tuple(
        NodeSpec(
            package=f"fed_vit_{name}",
            executable=f"{name}_node",
            remappings=tuple((sensors or {}).items()),
            respawn=arguments.use_respawn,
            niceness=NICENESS.get(name, 0),
            **arguments.common(name, (parameters or {}).get(name, {})),
        )
        for name in BRINGUP_ORDER
        if arguments.learning or name != "client"
    )
    return Graph(nodes, arguments.autostart)


def carla_sensors(role: str) -> dict[str, str]:
    """Where the CARLA ROS bridge publishes the vehicle's sensors."""
    return {
        "camera/image": f"/carla/{role}/rgb_front/image",
        "camera/camera_info": f"/carla/{role}/rgb_front/camera_info",
        "lidar/points": f"/carla/{role}/lidar",
        "odometry": f"/carla/{role}/odometry",
    }


@dataclass(frozen=True)
class CarlaArguments(Arguments):
    """A vehicle in CARLA, reached through the CARLA ROS bridge."""

    use_sim_time: bool = field(default=True, metadata={"help": "take the time from /clock"})
    role: str = field(default="ego_vehicle", metadata={"help": "the vehicle's role name in the bridge's topics"})


def carla_graph(
    arguments: CarlaArguments = CarlaArguments(), *, parameters: Mapping[str, Mapping[str, Value]] | None = None
) -> Graph:
    """A vehicle whose sensors are the bridge's topics, and the adapter that converts everything else.

    Args:
        parameters: {node name: {parameter: value}} on top of the files.
    """
    sensors = carla_sensors(arguments.role)
    vehicle = vehicle_graph(arguments, sensors=sensors, parameters=parameters)
    adapter = NodeSpec(
        package="fed_vit_sim",
        executable="adapter_node",
        remappings=tuple(sensors.items()),
        respawn=arguments.use_respawn,
        **arguments.common("adapter", {"role": arguments.role, **(parameters or {}).get("adapter", {})}),
    )
    # Driving does not wait for the client, which comes last.
    driving = tuple(node for node in vehicle.nodes if node.name != "client")
    learning = tuple(node for node in vehicle.nodes if node.name == "client")
    return Graph((*driving, adapter, *learning), arguments.autostart)


@dataclass(frozen=True)
class FleetArguments(Arguments):
    """Several vehicles in the embedded world."""

    namespace: str = field(default="/", metadata={"help": "namespace above the vehicles'"})
    use_sim_time: bool = field(default=True, metadata={"help": "take the time from /clock"})
    learning: bool = field(default=False, metadata={"help": "run the federated clients, which need their enrolments"})
    vehicles: int = field(default=2, metadata={"help": "how many vehicles"})


def vehicle_names(count: int) -> list[str]:
    """Names of a fleet's vehicles: their role in the world, namespace and id in the federation."""
    return [f"vehicle_{index + 1}" for index in range(count)]


def fleet_graph(
    arguments: FleetArguments = FleetArguments(),
    *,
    parameters: Mapping[str, Mapping[str, Mapping[str, Value]]] | None = None,
) -> Graph:
    """Vehicles in the embedded world, which starts when all of them are up.

    Args:
        parameters: {vehicle, or "world": {node name: {parameter: value}}} on top of the files.
    """
    given = parameters or {}
    graph = Graph((), arguments.autostart)
    names = vehicle_names(arguments.vehicles)
    for name in names:
        shared = {key: getattr(arguments, key) for key in Arguments.__dataclass_fields__}
        vehicle = CarlaArguments(**{**shared, "namespace": f"{arguments.namespace.rstrip('/')}/{name}"}, role=name)
        own = {"client": {"vehicle": name}}
        own |= {node: {**own.get(node, {}), **values} for node, values in given.get(name, {}).items()}
        graph += carla_graph(vehicle, parameters=own)
    values = {"vehicles": names, **given.get("world", {}).get("world", {})}
    # The world makes the time that the others take from /clock.
    world = NodeSpec(
        package="fed_vit_sim",
        executable="world_node",
        lifecycle=False,
        required=True,
        **replace(arguments, use_sim_time=False).common("world", values),
    )
    return graph + Graph((world,), arguments.autostart)


# Perception takes a lighter model when the machine is slow: then no two replays would be the same.
DEAF = (("latency/report", "latency/unheard"),)
UNLIMITED = {"target_fps": 1.0, "max_memory": 1024.0, "max_power": 1000.0}


@dataclass(frozen=True)
class ReplayArguments(Arguments):
    """A recording, played step by step through a vehicle's nodes."""

    namespace: str = field(default="/replay", metadata={"help": "namespace of the nodes under test"})
    use_sim_time: bool = field(default=True, metadata={"help": "take the time from /clock"})
    use_respawn: bool = field(default=False, metadata={"help": "start a node again when its process dies"})
    learning: bool = field(default=False, metadata={"help": "run the federated client as well"})
    bag: str = field(default="", metadata={"help": "rosbag2 folder or .mcap / .db3 file"})
    map: str = field(default="", metadata={"help": "recorded topics by role, as TOPIC:=RECORDED, separated by commas"})
    output: str = field(default="out/replay", metadata={"help": "folder for the report and the video"})


def replay_graph(
    arguments: ReplayArguments = ReplayArguments(), *, parameters: Mapping[str, Mapping[str, Value]] | None = None
) -> Graph:
    """A vehicle and the player that feeds it; the graph ends with the recording."""
    perception = {**UNLIMITED, **(parameters or {}).get("perception", {})}
    vehicle = vehicle_graph(arguments, parameters={**(parameters or {}), "perception": perception})
    nodes = tuple(replace(node, remappings=DEAF) if node.name == "perception" else node for node in vehicle.nodes)
    values = {"bag": arguments.bag, "map": arguments.map, "output": arguments.output}
    player = NodeSpec(
        package="fed_vit_sim",
        executable="replay_node",
        lifecycle=False,
        required=True,
        screen=True,
        **replace(arguments, use_sim_time=False).common("replay", values),
    )
    return Graph((*nodes, player), arguments.autostart)


@dataclass(frozen=True)
class Launch:
    """A graph that can be launched by name: its arguments' type and its builder."""

    arguments: type[Arguments]
    build: Callable[..., Graph]


LAUNCHES: dict[str, Launch] = {
    "vehicle": Launch(Arguments, vehicle_graph),
    "carla": Launch(CarlaArguments, carla_graph),
    "fleet": Launch(FleetArguments, fleet_graph),
    "replay": Launch(ReplayArguments, replay_graph),
}
