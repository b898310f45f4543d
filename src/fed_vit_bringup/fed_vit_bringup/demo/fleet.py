"""The demo's fleet: the graph with its parameters, and what truly happened in the world."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from fed_vit_aggregator.local import LocalCloud
from fed_vit_bringup.graph import FleetArguments, Graph, NodeSpec, Value, fleet_graph
from fed_vit_sim.truth_sink import Summary, VehicleSummary

TOWN_SEED = 3
ROUTE_LENGTH_M = 300.0
CORES_PER_VEHICLE = 4  # for its nodes, its training and its share of the world in real time


def demo_graph(
    output: Path, domains: Mapping[str, str], client: Callable[[str], Mapping[str, Value]], record: bool
) -> Graph:
    """World, vehicles with their clients, and the observer.

    Args:
        output: folder for the world's record and the observer's videos.
        domains: vehicle → weather.
        client: a vehicle's client node's parameters.
        record: also write each vehicle's inputs as a rosbag2.
    """
    parameters: dict[str, dict[str, Mapping[str, Value]]] = {
        vehicle: {
            "client": {**client(vehicle), "domain": domain},
            **dict.fromkeys(("perception", "policy"), _trust(client(vehicle))),
        }
        for vehicle, domain in domains.items()
    }
    speed = min(1.0, len(os.sched_getaffinity(0)) / (CORES_PER_VEHICLE * len(domains)))
    world = {
        "weathers": list(domains.values()),
        "town_seed": TOWN_SEED,
        "route_length": ROUTE_LENGTH_M,
        "truth": str(output / "world"),
        "speed": speed,
        "out_of_phase": speed < 1.0,  # cameras of different vehicles know nothing of each other, nor share a computer
    }
    arguments = FleetArguments(vehicles=len(domains), learning=True)
    graph = fleet_graph(arguments, parameters={**parameters, "world": {"world": world}})
    observer = NodeSpec(
        package="fed_vit_bringup",
        executable="observer",
        name="observer",
        namespace="/",
        parameters={"use_sim_time": True, "vehicles": list(domains), "output": str(output), "record": record},
        lifecycle=False,
    )
    # The observer listens before the world's first frame.
    return Graph((*graph.nodes[:-1], observer, graph.nodes[-1]), graph.autostart)


def client_parameters(cloud: LocalCloud, folder: Path, vehicle: str) -> dict[str, Value]:
    """Parameters of a vehicle's client node that reach this cloud; its identity and state are kept below ``folder``."""
    return {
        "region": cloud.region,
        "broker_host": cloud.settings.broker.host,
        "broker_port": cloud.settings.broker.port,
        "identity": str(cloud.enrol(vehicle, folder / vehicle / "identity").folder),
        "state": str(folder / vehicle / "state"),
        "release": cloud.settings.initial_release,
    }


def _trust(client: Mapping[str, Value]) -> dict[str, Value]:
    """The seeing and driving nodes start with the client's release, and believe whom the vehicle believes."""
    return {"release": client["release"], "trusted_keys": f"{client['identity']}/release_keys"}


def world_record(output: Path) -> dict[str, VehicleSummary]:
    """What truly happened to each vehicle so far; empty before the first second."""
    path = output / "world" / "summary.json"
    return msgspec.json.decode(path.read_bytes(), type=Summary).vehicles if path.exists() else {}
