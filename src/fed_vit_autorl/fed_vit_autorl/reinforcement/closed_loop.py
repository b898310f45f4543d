"""Drives in the embedded world, recorded as the run logs that the evaluator scores."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from fed_vit_autorl.data.classes import PEDESTRIAN
from fed_vit_autorl.evaluation.conflict import clearance, time_to_collision
from fed_vit_autorl.evaluation.run_log import Infraction, InfractionKind, RunLog, Step
from fed_vit_autorl.reinforcement.drivers import Action, Driver
from fed_vit_autorl.simulation.actors import EGO_KIND, KINDS
from fed_vit_autorl.simulation.events import Collision, Event, RedLightRun
from fed_vit_autorl.simulation.observation import Observation
from fed_vit_autorl.simulation.scenarios import Scenario
from fed_vit_autorl.simulation.vehicle import VehicleParameters
from fed_vit_autorl.simulation.world import World

MakeDriver = Callable[[str, Observation], Driver]
NEAR_M = 40.0


def drive(
    world: World,
    seed: int,
    make_driver: MakeDriver,
    limit_s: float = 300.0,
    scenarios: Mapping[str, Scenario] | None = None,
) -> Iterator[tuple[Mapping[str, Observation], Mapping[str, Action]]]:
    """Each frame's observations and the drivers' actions, until every ego has finished or `limit_s` has passed.

    `scenarios` by ego make it difficult.
    """
    observations = world.reset(seed, scenarios) if scenarios else world.reset(seed)
    drivers = {name: make_driver(name, observation) for name, observation in observations.items()}
    while True:
        actions = {name: drivers[name].act(observation) for name, observation in observations.items()}
        yield observations, actions
        over = all(observation.completion >= 1.0 for observation in observations.values())
        if over or world.stamp >= limit_s:
            return
        observations = world.step({name: action.control for name, action in actions.items()})


def record(
    world: World,
    seed: int,
    make_driver: MakeDriver,
    limit_s: float = 300.0,
    scenarios: Mapping[str, Scenario] | None = None,
) -> list[RunLog]:
    """One run log per ego, see `drive`."""
    recorders: dict[str, Recorder] = {}
    for observations, actions in drive(world, seed, make_driver, limit_s, scenarios):
        for name, observation in observations.items():
            label = f"{world.config.town.kind}-{world.config.town.seed}/{seed}/{name}"
            recorders.setdefault(name, Recorder(label)).add(observation, actions[name])
    return [recorder.log() for recorder in recorders.values()]


class Recorder:
    """Makes one ego's run log from its observations."""

    def __init__(self, route: str):
        self._route = route
        self._steps: list[Step] = []
        self._infractions: list[Infraction] = []
        self._goal = False

    def add(self, observation: Observation, action: Action) -> None:
        """Record one frame; those after the goal are left out."""
        if self._goal:
            return
        self._last, ego = observation, observation.ego
        self._goal = observation.completion >= 1.0
        self._infractions += [one for one in map(_infraction, observation.events) if one is not None]
        ttc, gap = conflict(observation)
        width = float(observation.route.at(observation.route.lane_widths, observation.progress))
        crossing = bool(observation.route.at(observation.route.in_junction, observation.progress))
        step = Step(
            stamp=observation.stamp,
            x=ego.position[0],
            y=ego.position[1],
            yaw=ego.yaw,
            speed=ego.speed,
            acceleration=ego.acceleration,
            yaw_rate=ego.yaw_rate,
            progress=observation.progress,
            speed_limit=observation.speed_limit,
            ttc=ttc,
            clearance=gap,
            off_road=observation.truth.off_road or (not crossing and observation.truth.lateral > 0.5 * width),
            intervention=action.intervention,
        )
        self._steps.append(step)

    def log(self) -> RunLog:
        """The run so far."""
        length = self._last.route.line.length
        return RunLog(self._route, length, self._steps, self._infractions, self._goal, self._last.weather)


def _infraction(event: Event) -> Infraction | None:
    if isinstance(event, RedLightRun):
        return Infraction(InfractionKind.RED_LIGHT, event.stamp)
    if not isinstance(event, Collision):
        return None
    if event.kind not in KINDS:
        return Infraction(InfractionKind.COLLISION_STATIC, event.stamp, event.at_fault)
    pedestrian = KINDS[event.kind].label == PEDESTRIAN
    kind = InfractionKind.COLLISION_PEDESTRIAN if pedestrian else InfractionKind.COLLISION_VEHICLE
    return Infraction(kind, event.stamp, event.at_fault)


def conflict(observation: Observation) -> tuple[float | None, float | None]:
    """(time to collision [s], clearance [m]) to the road users near the ego, None where there is none."""
    ego = observation.ego
    x, y, _ = ego.position
    ahead = 0.5 * EGO_KIND.length - VehicleParameters.rear_overhang
    cos, sin = np.cos(ego.yaw), np.sin(ego.yaw)
    centre = (x + ahead * cos, y + ahead * sin)
    near = [
        (
            user.x,
            user.y,
            user.yaw,
            user.speed * np.cos(user.yaw),
            user.speed * np.sin(user.yaw),
            user.length,
            user.width,
        )
        for user in observation.truth.users.values()
        if np.hypot(user.x - x, user.y - y) < NEAR_M
    ]
    if not near:
        return None, None
    own = np.array((*centre, ego.yaw, ego.speed * cos, ego.speed * sin, EGO_KIND.length, EGO_KIND.width))
    seconds = time_to_collision(own, np.array(near))
    return (seconds if np.isfinite(seconds) else None), clearance(own, np.array(near))
