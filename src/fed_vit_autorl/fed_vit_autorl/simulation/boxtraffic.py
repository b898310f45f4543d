"""The traffic of the box world: arrays of road users in the route's coordinates, each with one behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

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
        front, ego_d, ego_speed = ego
        acceleration = self._follow(now, front, ego_d, ego_speed)
        self._cut_in(dt, front, ego_speed)
        self._cross(dt, cross_green)
        self._walk(front)
        follows = (self.behaviour == Behaviour.FOLLOWS) | ((self.behaviour == Behaviour.CUTS_IN) & self.acting)
        self.speed = np.where(follows, np.maximum(self.speed + acceleration * dt, 0.0), self.speed)
        self.s = self.s + self.speed * np.cos(self.heading) * dt
        self.d = self.d + self.speed * np.sin(self.heading) * dt

    def _follow(self, now: float, front: float, ego_d: float, ego_speed: float) -> NDArray[np.float64]:
        """IDM of those in the ego's lane, behind one another and behind the ego."""
        in_lane = np.abs(self.d) < 0.5 * LANE_M + 0.5
        gap = np.full(len(self.s), np.inf)
        ahead_speed = self.wish.copy()
        order = np.flatnonzero(in_lane & self.present)
        for i in order:
            ahead = order[self.s[order] > self.s[i] + 0.1]
            if len(ahead):
                j = ahead[self.s[ahead].argmin()]
                gap[i] = self.s[j] - self.s[i] - 0.5 * (self.length[i] + self.length[j])
                ahead_speed[i] = self.speed[j] * np.cos(self.heading[j])
            ego_gap = front - 4.65 - self.s[i] - 0.5 * self.length[i]
            if self.s[i] < front - 2.0 and ego_gap < gap[i] and abs(ego_d) < LANE_M:
                gap[i], ahead_speed[i] = ego_gap, ego_speed
        approach = self.speed * (self.speed - ahead_speed) / (2.0 * np.sqrt(IDM_ACCELERATION * IDM_BRAKE))
        wanted = IDM_GAP + np.maximum(self.speed * IDM_HEADWAY + approach, 0.0)
        free = (self.speed / np.maximum(self.wish, 0.1)) ** 4
        acceleration = IDM_ACCELERATION * (1.0 - free - (wanted / np.maximum(gap, 0.1)) ** 2)
        stopping = (now >= self.stops_at) & (now < self.stops_at + self.stands_for)
        return np.where(stopping, -HARDEST, np.clip(acceleration, -HARDEST, IDM_ACCELERATION))

    def _cut_in(self, dt: float, front: float, ego_speed: float) -> None:
        cuts = (self.behaviour == Behaviour.CUTS_IN) & self.present
        gap = self.s - 0.5 * self.length - front
        self.acting |= cuts & (gap > 0.0) & (gap < self.trigger)
        going = cuts & self.acting
        aim = np.clip(-0.25 * self.d, -0.35, 0.35)
        self.heading = np.where(going, aim * np.minimum(self.speed, 3.0) / 3.0, self.heading)

    def _cross(self, dt: float, green: bool) -> None:
        crosses = (self.behaviour == Behaviour.CROSSES) & self.present
        towards = np.where(self.heading > 0.0, -1.0, 1.0) * self.d  # way until the route's middle
        to_line = towards - CROSSING_STOP_M - 0.5 * self.length
        must = crosses & self.obeys & (not green) & (to_line > -0.5)
        needed = np.where(must & (to_line < 40.0), self.speed**2 / (2.0 * np.maximum(to_line, 0.05)), 0.0)
        brake = np.where(must & (to_line < 1.0), HARDEST, np.where(needed > 1.5, np.minimum(needed, HARDEST), 0.0))
        change = np.where(brake > 0.0, -brake, np.where(self.speed < self.wish, IDM_ACCELERATION, 0.0))
        self.speed = np.where(crosses, np.maximum(self.speed + change * dt, 0.0), self.speed)
        self.d = np.where(crosses & (towards < -60.0), self.d + np.sign(self.heading) * -120.0, self.d)

    def _walk(self, front: float) -> None:
        walks = (self.behaviour == Behaviour.JAYWALKS) & self.present
        gap = self.s - front
        # Who has stepped out goes on to the other side.
        goes = walks & ~self.acting & (gap > 0.0) & (gap < self.trigger)
        self.acting |= goes
        self.heading = np.where(goes, -np.sign(self.d) * 0.5 * np.pi, self.heading)
        self.speed = np.where(goes, self.wish, self.speed)
        # On the far pavement it is just a pedestrian again.
        done = walks & self.acting & (np.abs(self.d) > 6.5) & (np.sign(self.d) == np.sign(self.heading))
        self.behaviour = np.where(done, Behaviour.WALKS, self.behaviour)
        self.heading = np.where(done, 0.0, self.heading)


EVERYBODY = frozenset(Behaviour)
HOUSE_M = 5.0


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
    rows = [row for row in rows if row["behaviour"] in behaviours or row["height"] > HOUSE_M]
    return Traffic(**{key: np.array([row[key] for row in rows]) for key in rows[0]})
