from dataclasses import replace

import numpy as np
import pytest

from fed_vit_autorl.data.classes import PEDESTRIAN, VEHICLE
from fed_vit_autorl.data.sample import EgoState
from fed_vit_autorl.reinforcement.expert import Expert, RoadUser, StopLine
from fed_vit_autorl.reinforcement.longitudinal import DrivingStyle, curve_speed, follow, stop_at
from fed_vit_autorl.reinforcement.route import Route, wrap

STRAIGHT = Route(np.array([[0, 0], [150, 0]], float), np.full(2, 10.0))
DT = 0.05


class Street:
    """A kinematic ego, road users that move straight on, and a light at `light_at` m that is red until `green_at` s."""

    def __init__(
        self, route: Route, users: dict[str, RoadUser], light_at: float | None = None, green_at: float = np.inf
    ):
        self.expert, self.users, self.light_at, self.green_at = Expert(route), dict(users), light_at, green_at
        x, y = route.at(0.0)
        self.ego = EgoState(0.0, (float(x), float(y), 0.0), float(route.heading(0.0)), 5.0)
        self.closest = np.inf

    def step(self) -> None:
        ego, print_of = self.ego, self.expert.footprint
        light = None
        if self.light_at is not None:
            light = StopLine(self.light_at - ego.position[0] - print_of.front, red=ego.stamp < self.green_at)
        decision = self.expert.decide(ego, self.users, light)
        speed = max(ego.speed + decision.acceleration * DT, 0.0)
        yaw = wrap(ego.yaw + speed / 2.7 * np.tan(decision.steering) * DT)
        x, y, _ = ego.position
        self.ego = EgoState(
            ego.stamp + DT, (x + speed * np.cos(yaw) * DT, y + speed * np.sin(yaw) * DT, 0.0), yaw, speed
        )
        for name, user in self.users.items():
            self.users[name] = replace(
                user, x=user.x + user.speed * np.cos(user.yaw) * DT, y=user.y + user.speed * np.sin(user.yaw) * DT
            )
            self.closest = min(self.closest, self.clearance(self.users[name]))

    def clearance(self, user: RoadUser) -> float:
        """Metres between the ego's rectangle (unturned) and the user's enclosing circle of its width."""
        dx = user.x - self.ego.position[0]
        ahead = max(
            dx - self.expert.footprint.front - user.length / 2, -dx - self.expert.footprint.rear - user.length / 2, 0.0
        )
        aside = max(abs(user.y - self.ego.position[1]) - (self.expert.footprint.width + user.width) / 2, 0.0)
        return float(np.hypot(ahead, aside))

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds / DT)):
            self.step()


def car(x: float, y: float = 0.0, speed: float = 0.0, yaw: float = 0.0) -> RoadUser:
    return RoadUser(x, y, yaw, speed, 4.5, 1.8, VEHICLE)


def person(x: float, y: float, speed: float, yaw: float) -> RoadUser:
    return RoadUser(x, y, yaw, speed, 0.5, 0.5, PEDESTRIAN)


def test_an_empty_route_is_driven_to_its_end():
    street = Street(STRAIGHT, {})
    street.run(30.0)
    assert street.ego.position[0] == pytest.approx(150.0, abs=1.0)
    assert street.ego.speed < 0.3


def test_it_stops_behind_a_standing_car_and_keeps_its_distance():
    street = Street(STRAIGHT, {"car": car(80.0)})
    street.run(30.0)
    assert street.ego.speed < 0.05
    assert 3.0 <= street.closest <= 7.0


def test_it_follows_a_slow_car_without_touching_it():
    street = Street(STRAIGHT, {"car": car(25.0, speed=4.0)})
    street.run(20.0)
    assert street.ego.speed == pytest.approx(4.0, abs=0.3)
    assert street.closest > 4.0


def test_it_waits_at_red_before_the_line_and_goes_on_green():
    street = Street(STRAIGHT, {}, light_at=70.0, green_at=20.0)
    street.run(19.9)
    front = street.ego.position[0] + street.expert.footprint.front
    assert street.ego.speed < 0.1
    assert 66.0 < front < 70.0
    street.run(25.0)
    assert street.ego.position[0] > 140.0


def test_it_lets_a_pedestrian_cross():
    street = Street(STRAIGHT, {"walker": person(45.0, -6.0, 1.4, np.pi / 2)})
    street.run(20.0)
    assert street.closest > 1.0
    assert street.ego.position[0] > 60.0


def test_it_yields_to_a_car_that_crosses():
    street = Street(STRAIGHT, {"car": car(50.0, -40.0, 8.0, np.pi / 2)})
    street.run(20.0)
    assert street.closest > 1.0
    assert street.ego.position[0] > 90.0


def test_cars_in_the_next_lane_and_people_on_the_pavement_do_not_hold_it_up():
    users = {"oncoming": car(100.0, 3.4, 8.0, np.pi), "parked": car(60.0, -3.6), "walker": person(70.0, -5.0, 1.2, 0.0)}
    street = Street(STRAIGHT, users)
    street.run(20.0)
    assert street.ego.position[0] > 130.0


@pytest.mark.parametrize(
    ("users", "because"),
    [
        ([car(12.0)], "lead"),
        ([person(20.0, 1.0, 0.0, 0.0)], "person"),
        ([person(15.0, 1.7, 0.0, 0.0)], "beside"),
        ([car(15.0, 2.3)], "free_road"),
        ([car(20.0, -20.0, 6.0, np.pi / 2)], "crossing"),
        ([car(50.0, -10.0, 12.0, np.pi / 2)], "free_road"),  # has passed before the ego is there
        ([car(300.0, 0.0, 8.0, np.pi)], "free_road"),
        ([car(-20.0, 0.0, 5.0)], "free_road"),
        ([person(20.0, 1.0, 0.0, 0.0), car(9.0)], "lead"),
        ([car(9.0), person(20.0, 1.0, 0.0, 0.0)], "lead"),
    ],
)
def test_it_says_what_decided(users, because):
    ego = EgoState(0.0, (0.0, 0.0, 0.0), 0.0, 6.0)
    assert Expert(STRAIGHT).decide(ego, dict(enumerate(users)), None).because == because


def test_a_car_that_turns_into_the_lane_is_foreseen():
    expert, ego = Expert(STRAIGHT), EgoState(0.0, (0.0, 0.0, 0.0), 0.0, 6.0)
    beside = car(10.0, 3.5, 5.0, 0.0)
    assert expert.decide(ego, {"car": beside}, None).because == "free_road"
    turned = expert.decide(replace(ego, stamp=0.1), {"car": replace(beside, x=10.5, yaw=-0.03)}, None)
    assert turned.because == "crossing"


def test_it_slows_for_a_corner_and_stays_in_its_lane():
    angle = np.linspace(0.0, np.pi / 2, 20)
    corner = np.stack((60.0 + 10.0 * np.sin(angle), 10.0 * (1.0 - np.cos(angle))), axis=-1)
    route = Route(np.concatenate((np.array([[0.0, 0.0]]), corner, np.array([[70.0, 60.0]]))), np.full(22, 10.0))
    street, worst, fastest = Street(route, {}), 0.0, 0.0
    for _ in range(500):
        street.step()
        x, y, _ = street.ego.position
        if x > 62.5 and y < 7.5:
            fastest = max(fastest, street.ego.speed)
        distance = np.linalg.norm(route.at(np.linspace(0, route.length, 500)) - (x, y), axis=1).min()
        worst = max(worst, distance)
    # 10 m at 2 m/s² lateral: √20 = 4.5 m/s, from a quarter of the corner on.
    assert fastest < 5.0
    assert worst < 0.6


def test_interaction_term_is_zero_net_at_the_equilibrium_gap():
    # s* = s0 + vT at equal speeds: a·(1 - 1) = 0.
    style = DrivingStyle()
    assert follow(8.0, style.standstill_gap + 8.0 * style.headway, 8.0, style) == pytest.approx(0.0, abs=1e-9)


def test_stopping_needs_v_squared_over_two_d():
    style = DrivingStyle()
    assert stop_at(10.0, 20.0, style) == pytest.approx(-2.5)
    # and no jump in the last 0.3 m: 1.2² / 0.6 = 2.4
    assert stop_at(1.2, 0.31, style) == pytest.approx(stop_at(1.2, 0.3, style), abs=0.1)
    assert stop_at(1.2, 0.1, style) == pytest.approx(-2.4)
    assert stop_at(0.5, -0.2, style) == -style.deceleration
    assert stop_at(8.0, -0.2, style) == -style.hardest


def test_curve_speed_on_a_circle():
    angle = np.linspace(0.0, 3.0, 200)
    circle = Route(20.0 * np.stack((np.sin(angle), 1.0 - np.cos(angle)), axis=-1))
    assert curve_speed(circle, 5.0, DrivingStyle(), horizon=30.0) == pytest.approx(np.sqrt(2.0 * 20.0), rel=0.02)
    assert curve_speed(STRAIGHT, 5.0, DrivingStyle()) == 10.0
