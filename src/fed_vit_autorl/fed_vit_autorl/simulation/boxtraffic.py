"""The traffic of the box world: arrays of road users in the route's coordinates, each with one behaviour."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.compiled import compiled

LANE_M = 3.5
IDM_ACCELERATION, IDM_BRAKE, IDM_HEADWAY, IDM_GAP = 1.8, 3.0, 1.1, 2.5
HARDEST = 8.0
CROSSING_STOP_M = 8.0
# Length, width and height [m] of cars, a van, a truck and a cyclist.
SIZES = ((4.6, 1.82, 1.45), (4.0, 1.75, 1.5), (4.8, 1.95, 1.78), (5.4, 2.0, 2.3), (7.6, 2.45, 3.2), (1.8, 0.6, 1.75))


class Behaviour(IntEnum):
    """What a road user does."""

    STANDS = 0
    FOLLOWS = 1  # drives in the ego's lane and direction: IDM, now and then a full stop
    ONCOMING = 2  # drives in the other lane and direction
    CUTS_IN = 3  # pulls out when the ego comes near
    CROSSES = 4  # drives along the crossing street; stops at its light
    WALKS = 5  # walks along the pavement
    JAYWALKS = 6  # steps onto the road when the ego comes near


FOLLOWS, CUTS_IN, CROSSES, WALKS, JAYWALKS = (
    int(Behaviour[name]) for name in ("FOLLOWS", "CUTS_IN", "CROSSES", "WALKS", "JAYWALKS")
)


@dataclass
class Traffic:
    """State of all road users, one entry each; lengths in m, speeds in m/s.

    `s`, `d`: centre. `heading`: relative to the route [rad]. `speed`: along the heading; `wish`: the one it likes.
    `trigger`: distance of the ego at which it acts (cuts in, steps out); `acting`: it has begun to. `stops_at`,
    `stands_for`: when a follower makes a full stop and for how long [s]. `obeys`: stops at red. `present`: not yet hit.
    """

    behaviour: NDArray[np.int64]
    s: NDArray[np.float64]
    d: NDArray[np.float64]
    heading: NDArray[np.float64]
    speed: NDArray[np.float64]
    length: NDArray[np.float64]
    width: NDArray[np.float64]
    height: NDArray[np.float64]
    wish: NDArray[np.float64]
    trigger: NDArray[np.float64]
    stops_at: NDArray[np.float64]
    stands_for: NDArray[np.float64]
    obeys: NDArray[np.bool_]
    acting: NDArray[np.bool_]
    present: NDArray[np.bool_]

    def step(self, dt: float, now: float, ego: tuple[float, float, float], cross_green: bool) -> None:
        """Moves everyone by `dt`. `ego`: its front's s, its d, its speed; `cross_green`: the crossing street goes."""
        acceleration = _accelerations(
            self.s, self.d, self.heading, self.speed, self.length, self.wish, self.stops_at, self.stands_for,
            self.present, now, ego,
        )  # fmt: skip
        _move(
            self.behaviour, self.s, self.d, self.heading, self.speed, self.length, self.wish, self.trigger, self.obeys,
            self.acting, self.present, acceleration, dt, ego, cross_green,
        )  # fmt: skip


@compiled(
    "float64[::1](float64[:], float64[:], float64[:], float64[:], float64[:], float64[:], float64[:], float64[:],"
    " boolean[:], float64, UniTuple(float64, 3))"
)
def _accelerations(
    s: NDArray,
    d: NDArray,
    heading: NDArray,
    speed: NDArray,
    length: NDArray,
    wish: NDArray,
    stops_at: NDArray,
    stands_for: NDArray,
    present: NDArray,
    now: float,
    ego: tuple[float, float, float],
) -> NDArray[np.float64]:
    """IDM of everyone [m/s²]: those in the ego's lane are behind one another and behind the ego."""
    front, ego_d, ego_speed = ego
    acceleration, in_lane = np.empty(len(s)), np.abs(d) < 0.5 * LANE_M + 0.5
    for i in range(len(s)):
        if stops_at[i] <= now < stops_at[i] + stands_for[i]:
            acceleration[i] = -HARDEST
            continue
        gap, ahead_speed = np.inf, wish[i]
        if in_lane[i] and present[i]:
            ahead = -1
            for j in range(len(s)):
                if in_lane[j] and present[j] and s[j] > s[i] + 0.1 and (ahead < 0 or s[j] < s[ahead]):
                    ahead = j
            if ahead >= 0:
                gap = s[ahead] - s[i] - 0.5 * (length[i] + length[ahead])
                ahead_speed = speed[ahead] * math.cos(heading[ahead])
            ego_gap = front - 4.65 - s[i] - 0.5 * length[i]
            if s[i] < front - 2.0 and ego_gap < gap and abs(ego_d) < LANE_M:
                gap, ahead_speed = ego_gap, ego_speed
        approach = speed[i] * (speed[i] - ahead_speed) / (2.0 * math.sqrt(IDM_ACCELERATION * IDM_BRAKE))
        wanted = IDM_GAP + max(speed[i] * IDM_HEADWAY + approach, 0.0)
        free = (speed[i] / max(wish[i], 0.1)) ** 4
        idm = IDM_ACCELERATION * (1.0 - free - (wanted / max(gap, 0.1)) ** 2)
        acceleration[i] = min(max(idm, -HARDEST), IDM_ACCELERATION)
    return acceleration


@compiled(
    "void(int64[:], float64[:], float64[:], float64[:], float64[:], float64[:], float64[:], float64[:], boolean[:],"
    " boolean[:], boolean[:], float64[:], float64, UniTuple(float64, 3), boolean)"
)
def _move(
    behaviour: NDArray,
    s: NDArray,
    d: NDArray,
    heading: NDArray,
    speed: NDArray,
    length: NDArray,
    wish: NDArray,
    trigger: NDArray,
    obeys: NDArray,
    acting: NDArray,
    present: NDArray,
    acceleration: NDArray,
    dt: float,
    ego: tuple[float, float, float],
    green: bool,
) -> None:
    """Changes the first five and `acting`; `acceleration` is for those who follow."""
    front, _, _ = ego
    for i in range(len(s)):
        follows = behaviour[i] == FOLLOWS
        if behaviour[i] == CUTS_IN:
            if present[i] and 0.0 < s[i] - 0.5 * length[i] - front < trigger[i]:
                acting[i] = True
            if present[i] and acting[i]:
                heading[i] = min(max(-0.25 * d[i], -0.35), 0.35) * min(speed[i], 3.0) / 3.0
            follows = acting[i]
        elif behaviour[i] == CROSSES and present[i]:
            side = 1.0 if heading[i] > 0.0 else -1.0
            towards = -side * d[i]  # way until the route's middle
            to_line = towards - CROSSING_STOP_M - 0.5 * length[i]
            brake = 0.0
            if obeys[i] and not green and -0.5 < to_line < 40.0:
                needed = speed[i] ** 2 / (2.0 * max(to_line, 0.05))
                brake = HARDEST if to_line < 1.0 else min(needed, HARDEST) if needed > 1.5 else 0.0
            change = -brake if brake > 0.0 else IDM_ACCELERATION if speed[i] < wish[i] else 0.0
            speed[i] = max(speed[i] + change * dt, 0.0)
            if towards < -60.0:
                d[i] -= 120.0 * np.sign(heading[i])
        elif behaviour[i] == JAYWALKS and present[i]:
            # Who has stepped out goes on to the other side; on the far pavement it is just a pedestrian again.
            if not acting[i] and 0.0 < s[i] - front < trigger[i]:
                acting[i], heading[i], speed[i] = True, -np.sign(d[i]) * 0.5 * np.pi, wish[i]
            if acting[i] and abs(d[i]) > 6.5 and np.sign(d[i]) == np.sign(heading[i]):
                behaviour[i], heading[i] = WALKS, 0.0
        if follows:
            speed[i] = max(speed[i] + acceleration[i] * dt, 0.0)
        s[i] += speed[i] * math.cos(heading[i]) * dt
        d[i] += speed[i] * math.sin(heading[i]) * dt


EVERYBODY = frozenset(Behaviour)
HOUSE_M = 5.0
BESIDE_M = 0.2


def make_traffic(
    rng: np.random.Generator,
    straight: NDArray[np.float64],
    crossing: float | None,
    behaviours: frozenset[Behaviour] = EVERYBODY,
) -> Traffic:
    """Dense traffic along a route that is straight at the arc lengths `straight`, and crossed by a street at
    `crossing`; of it those with one of `behaviours`, and the houses.
    """
    rows: list[dict] = []

    def add(behaviour: Behaviour, s: float, d: float, heading: float, speed: float, size: tuple, **more: float) -> None:
        rows.append(
            {"behaviour": behaviour, "s": s, "d": d, "heading": heading, "speed": speed, "wish": speed, "trigger": 0.0,
             "stops_at": np.inf, "stands_for": 0.0, "obeys": True, "acting": False, "present": True,
             "length": size[0], "width": size[1], "height": size[2]} | more
        )  # fmt: skip

    def car() -> tuple:
        return SIZES[rng.integers(len(SIZES))]

    s = float(rng.uniform(18.0, 45.0))
    for _ in range(int(rng.integers(0, 5))):
        speed = float(rng.uniform(4.0, 11.0))
        stop = {"stops_at": float(rng.uniform(2.0, 16.0)), "stands_for": float(rng.uniform(0.5, 6.0))}
        add(Behaviour.FOLLOWS, s, 0.0, 0.0, speed, car(), wish=float(rng.uniform(7.0, 12.0)), **stop)
        s += float(rng.uniform(14.0, 40.0))
    if rng.random() < 0.7:
        add(Behaviour.FOLLOWS, -float(rng.uniform(10.0, 25.0)), 0.0, 0.0, 4.0, car(), wish=11.0)
    for s in np.cumsum(rng.uniform(10.0, 45.0, int(rng.integers(0, 10)))):
        add(Behaviour.ONCOMING, float(s), LANE_M, np.pi, float(rng.uniform(5.0, 13.0)), car())
    for s in np.cumsum(rng.uniform(6.0, 30.0, int(rng.integers(0, 8)))) + 8.0:
        if crossing is None or abs(s - crossing) > 14.0:
            size = car()
            add(Behaviour.STANDS, float(s), -(1.9 + 0.5 * size[1]), 0.0, 0.0, size)
    for _ in range(int(rng.integers(0, 3))):
        side = -(1.9 + 0.9) if rng.random() < 0.7 else LANE_M
        add(Behaviour.CUTS_IN, float(rng.uniform(40.0, 160.0)), side, 0.0, 0.5, (4.6, 1.82, 1.45),
            wish=float(rng.uniform(4.0, 10.0)), trigger=float(rng.uniform(10.0, 30.0)))  # fmt: skip
    for _ in range(int(rng.integers(0, 8))):
        side = float(rng.choice((-5.0, 6.5)))
        add(Behaviour.WALKS, float(rng.uniform(0.0, 150.0)), side, float(rng.choice((0.0, np.pi))),
            float(rng.uniform(0.5, 1.6)), (0.5, 0.55, 1.75))  # fmt: skip
    for _ in range(int(rng.integers(0, 3))):
        side = float(rng.choice((-5.0, 6.5)))
        add(Behaviour.JAYWALKS, float(rng.uniform(25.0, 150.0)), side, 0.0, 0.0, (0.5, 0.55, 1.75),
            wish=float(rng.uniform(0.8, 2.5)), trigger=float(rng.uniform(12.0, 45.0)))  # fmt: skip
    if rng.random() < 0.3:
        add(Behaviour.STANDS, float(rng.uniform(60.0, 160.0)), float(rng.uniform(-1.0, 1.0)), 0.3, 0.0, (0.8, 0.8, 0.6))
    if crossing is not None:
        for _ in range(int(rng.integers(1, 5))):
            turn = float(rng.choice((-1.0, 1.0)))
            add(Behaviour.CROSSES, crossing - 1.75 * turn, -turn * float(rng.uniform(15.0, 60.0)), turn * 0.5 * np.pi,
                8.0, car(), wish=float(rng.uniform(6.0, 11.0)), obeys=bool(rng.random() > 0.1))  # fmt: skip
    for side, least in ((-1.0, 8.0), (1.0, 11.0)):
        for s in np.arange(-20.0, 190.0, 15.0):
            clear = crossing is None or abs(s - crossing) > 16.0
            if clear and rng.random() < 0.6 and (np.abs(straight - s) < 8.0).any():
                depth = float(rng.uniform(2.0, 8.0))
                size = (float(rng.uniform(6.0, 14.0)), depth, 6.0)
                add(Behaviour.STANDS, float(s), side * (least + 0.5 * depth), 0.0, 0.0, size)
    rows = [row for row in _apart(rows) if row["behaviour"] in behaviours or row["height"] > HOUSE_M]
    return Traffic(**{key: np.array([row[key] for row in rows]) for key in rows[0]})


def _apart(rows: list[dict]) -> list[dict]:
    """The rows, so that nobody comes out of what stands: vehicles are not parked where one pulls out of the row, and
    who steps out does so beside them, at whichever end is nearer.
    """
    pulls_out = [row for row in rows if row["behaviour"] == Behaviour.CUTS_IN and row["d"] < 0.0]

    def stands(row: dict) -> bool:
        return row["behaviour"] == Behaviour.STANDS and row["height"] < HOUSE_M

    def in_its_way(row: dict) -> bool:
        return any(-1.0 < (row["s"] - car["s"]) / (0.5 * (row["length"] + car["length"])) < 2.0 for car in pulls_out)

    kept = [row for row in rows if not (stands(row) and row["d"] < -LANE_M / 2.0 and in_its_way(row))]
    solid = sorted((row for row in kept if stands(row)), key=lambda row: row["s"])
    for person in (row for row in kept if row["behaviour"] == Behaviour.JAYWALKS):
        apart = [0.5 * (row["length"] + person["width"]) + BESIDE_M for row in solid]
        first = next((i for i, row in enumerate(solid) if abs(row["s"] - person["s"]) < apart[i]), None)
        if first is None:
            continue
        side = 1.0 if person["s"] > solid[first]["s"] else -1.0
        for row, gap in list(zip(solid, apart, strict=True))[:: int(side)]:
            if abs(row["s"] - person["s"]) < gap:
                person["s"] = row["s"] + side * gap
    return kept
