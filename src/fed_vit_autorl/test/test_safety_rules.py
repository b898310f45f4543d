"""The rules, one by one, with the arithmetic."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fed_vit_autorl.reinforcement.route import Projection
from fed_vit_autorl.safety.assumptions import Assumptions
from fed_vit_autorl.safety.limits import Constraint
from fed_vit_autorl.safety.reasons import Reason
from fed_vit_autorl.safety.rss import safe_acceleration
from fed_vit_autorl.safety.rules import (
    ROAD_RULES,
    TRAFFIC_RULES,
    Hazards,
    RuleChecker,
    Situation,
    free_way,
    give_way,
    lane,
    lateral_distance,
    obstacle,
    occlusion,
    scene,
    speed_limit,
    traffic_light,
)
from fed_vit_autorl.safety.types import Action, Light, LightState

A = Assumptions()
INF = math.inf
RED, YELLOW, GREEN, OFF, UNKNOWN = (
    LightState.RED,
    LightState.YELLOW,
    LightState.GREEN,
    LightState.OFF,
    LightState.UNKNOWN,
)


def hazard(way=INF, gap=0.0, abreast=0.0, along=0.0, closing=0.0, person=False, hesitant=False):
    numbers = (np.array([float(value)]) for value in (way, gap, abreast, along, closing))
    return Hazards(*numbers, np.array([person]), np.array([hesitant]))


def stop(speed, way, brake=A.assured_brake):
    return safe_acceleration(speed, way, A.response_time, brake)


def test_on_an_empty_road_the_traffic_rules_are_silent():
    empty = Situation(speed=10.0)
    assert RuleChecker().traffic(empty) == []
    assert (empty.hazards.person.dtype, len(empty.hazards.person)) == (bool, 0)
    assert [c.reason for c in RuleChecker().road(empty)] == [Reason.SPEED_LIMIT]


def test_every_rule_is_asked():
    assert {*ROAD_RULES, *TRAFFIC_RULES} == {
        "traffic_light", "speed_limit", "lane", "obstacle", "lateral_distance", "give_way", "occlusion", "scene",
    }  # fmt: skip


def test_violations_are_what_an_action_breaks():
    checker = RuleChecker()
    s = Situation(speed=10.0, hazards=hazard(way=12.0))
    assert checker.violations(s, Action(0.0, 0.0)) == (Reason.OBSTACLE,)
    assert checker.violations(s, Action(0.0, -8.0)) == ()
    assert checker.violations(Situation(speed=31.0), Action(0.0, 0.0)) == (Reason.SPEED_LIMIT,)


def test_free_way_keeps_3_m_and_credits_what_moves():
    # A lead at 8 m/s may stop within 8² / (2 · 8) = 4 m; one that comes at 4 m/s needs 4 · 0.5 + 4² / (2 · 4) = 4 m.
    h = Hazards(
        np.full(3, 20.0), np.zeros(3), np.zeros(3), np.array([0.0, 8.0, -4.0]), np.zeros(3), *np.zeros((2, 3), bool)
    )
    assert free_way(h, A) == pytest.approx([17.0, 21.0, 13.0])
    assert math.isinf(free_way(hazard(), A)[0])


@pytest.mark.parametrize(
    ("along", "free", "reason"),
    [
        (0.0, 17.0, Reason.OBSTACLE),
        (0.5, 17.0 + 0.25 / 16, Reason.OBSTACLE),
        (0.6, 17.0 + 0.36 / 16, Reason.LEAD_VEHICLE),
        (-0.5, 17.0 - 0.25 - 0.25 / 8, Reason.OBSTACLE),
        (-0.6, 17.0 - 0.3 - 0.36 / 8, Reason.ONCOMING_VEHICLE),
    ],
)
def test_obstacle(along, free, reason):
    constraint = obstacle(Situation(speed=10.0, hazards=hazard(way=20.0, along=along)), A)
    assert constraint.reason is reason
    assert constraint.acceleration == pytest.approx(stop(10.0, free))
    assert constraint.steering == (-INF, INF)


@pytest.mark.parametrize(("speed", "way", "goes"), [(0.09, 3.29, False), (0.09, 3.31, True), (0.1, 3.29, True)])
def test_a_standing_ego_goes_when_there_is_something_to_gain(speed, way, goes):
    constraint = obstacle(Situation(speed=speed, hazards=hazard(way=way)), A)
    assert (constraint.acceleration > 0.0) is goes


def test_the_nearest_obstacle_counts():
    none = np.zeros(2)
    two = Hazards(np.array([30.0, 15.0]), none, none, np.array([0.0, 8.0]), none, *np.zeros((2, 2), bool))
    constraint = obstacle(Situation(speed=10.0, hazards=two), A)
    assert constraint.reason is Reason.LEAD_VEHICLE
    assert constraint.acceleration == pytest.approx(stop(10.0, 16.0))


def test_what_never_comes_into_the_corridor_is_no_obstacle():
    assert obstacle(Situation(speed=10.0, hazards=hazard(gap=0.5)), A) is None


# Walking at 1.5 m/s: 1.5 · 0.5 + 1.5² / (2 · 0.8) + 0.1 = 2.256 m; the ego does not move sideways.
@pytest.mark.parametrize(("gap", "acts"), [(2.25, True), (2.26, False)])
def test_who_walks_towards_the_corridor_counts_as_in_it(gap, acts):
    constraint = lateral_distance(Situation(speed=8.0, hazards=hazard(gap=gap, abreast=14.0, closing=1.5)), A)
    assert (constraint is not None) is acts
    if acts:
        assert constraint.reason is Reason.LATERAL_DISTANCE
        assert constraint.acceleration == pytest.approx(stop(8.0, 11.0))


def test_who_cuts_in_is_credited_its_own_speed():
    constraint = lateral_distance(
        Situation(speed=8.0, hazards=hazard(gap=0.5, abreast=14.0, along=4.0, closing=1.0)), A
    )
    assert constraint.acceleration == pytest.approx(stop(8.0, 11.0 + 1.0))
    backwards = lateral_distance(
        Situation(speed=8.0, hazards=hazard(gap=0.5, abreast=14.0, along=-4.0, closing=1.0)), A
    )
    assert backwards.acceleration == pytest.approx(stop(8.0, 11.0))


@pytest.mark.parametrize(
    "h",
    [
        hazard(gap=0.5, abreast=9.0, closing=0.0),
        hazard(gap=0.5, abreast=9.0, closing=3.1),
        hazard(gap=INF, abreast=9.0, closing=1.5),
        hazard(way=9.0, gap=0.5, abreast=9.0, closing=1.5),
    ],
)
def test_who_stands_crosses_fast_is_never_passed_or_is_in_the_way_already_is_not_approaching(h):
    assert lateral_distance(Situation(speed=8.0, hazards=h), A) is None


def test_the_nearest_of_two_who_approach_counts():
    abreast, closing = np.array([20.0, 12.0]), np.full(2, 1.5)
    both = Hazards(np.full(2, INF), np.full(2, 0.5), abreast, np.zeros(2), closing, *np.zeros((2, 2), bool))
    assert lateral_distance(Situation(speed=8.0, hazards=both), A).acceleration == pytest.approx(stop(8.0, 9.0))


def crossing(gap=8.0, abreast=20.0, closing=8.0, speed=10.0, lights=()):
    return Situation(speed=speed, hazards=hazard(gap=gap, abreast=abreast, closing=closing), lights=lights)


def test_it_gives_way_to_who_crosses_at_the_same_time():
    # It enters after 8 / 8 = 1 s and has left by (8 + 1.85 + 5) / 8 = 1.86 s; the ego would enter at 2 s: 0.14 s later.
    constraint = give_way(crossing(), A)
    assert constraint.reason is Reason.YIELD
    assert constraint.acceleration == pytest.approx(stop(10.0, 19.0))


# The ego enters at 20 / 10 = 2 s and leaves at (20 + 3.7 + 0.95 + 1.85) / 10 = 2.65 s; a second is kept on both sides.
@pytest.mark.parametrize(
    ("gap", "acts"),
    [(3.65 * 8.0 - 0.1, True), (3.65 * 8.0 + 0.1, False), (1.0 * 8.0 - 6.85 + 0.1, True), (8.0 - 6.85 - 0.1, False)],
)
def test_it_does_not_give_way_to_who_comes_later_or_is_gone(gap, acts):
    assert (give_way(crossing(gap=gap), A) is not None) is acts


# At 1.2 m/s 3 m take 2.5 s, in which the ego, 10 m away, is not through and a second past; 5 m take 4.2 s.
@pytest.mark.parametrize(("gap", "acts"), [(3.0, True), (5.0, False)])
def test_a_person_is_expected_to_walk_on(gap, acts):
    walker = hazard(gap=gap, abreast=10.0, closing=1.2, person=True)
    assert (give_way(Situation(speed=8.0, hazards=walker), A) is not None) is acts
    assert lateral_distance(Situation(speed=8.0, hazards=walker), A) is None


def test_a_person_is_expected_to_walk_on_however_slowly():
    walker = hazard(gap=0.3, abreast=10.0, closing=0.3, person=True)  # 1 s away; the ego is through after 2.1 s
    assert give_way(Situation(speed=8.0, hazards=walker), A).reason is Reason.YIELD


def test_slow_vehicles_and_those_already_in_the_way_are_other_rules_business():
    assert give_way(crossing(closing=3.0), A) is None
    assert give_way(Situation(speed=10.0, hazards=hazard(way=15.0, gap=0.0, abreast=20.0, closing=8.0)), A) is None
    assert give_way(Situation(speed=10.0, hazards=hazard(gap=INF, abreast=20.0, closing=8.0)), A) is None


# At 8 m/s and 4 m/s², half a second of response included, it can stop within 8 · 0.5 + 8² / 8 = 12 m.
@pytest.mark.parametrize(("gap", "acts"), [(12.1, False), (11.9, True)])
def test_with_a_green_light_who_can_still_stop_is_expected_to(gap, acts):
    lights = (Light(GREEN, 5.0),)
    assert give_way(crossing(gap=12.1), A) is not None
    assert (give_way(crossing(gap=gap, lights=lights), A) is not None) is acts


def test_who_can_still_stop_hides_nobody_who_can_not():
    gap, abreast, closing = np.array([12.1, 11.9]), np.array([20.0, 15.0]), np.full(2, 8.0)
    both = Hazards(np.full(2, INF), gap, abreast, np.zeros(2), closing, *np.zeros((2, 2), bool))
    found = give_way(Situation(speed=10.0, hazards=both, lights=(Light(GREEN, 5.0),)), A)
    assert found.acceleration == pytest.approx(stop(10.0, 14.0))


@pytest.mark.parametrize("light", [Light(RED, 5.0), Light(GREEN, 10.0)])
def test_a_red_or_far_light_gives_no_priority(light):
    assert give_way(crossing(gap=12.1, lights=(light,)), A) is not None


def test_the_ego_that_is_there_already_goes_on():
    # 10 m/s need 10² / (2 · 8) = 6.25 m at the hardest; 1 m is kept.
    assert give_way(crossing(abreast=7.2, gap=4.0), A) is None
    assert give_way(crossing(abreast=7.3, gap=4.0), A) is not None


# At 10 m/s it can't stop within 6.5 m, and is through after (6.5 + 3.7 + 0.95 + 1.85) / 10 = 1.3 s.
@pytest.mark.parametrize(
    ("abreast", "gap", "acts"), [(6.5, 1.29, True), (6.5, 1.31, False), (0.1, 0.1, True), (0.0, 0.1, False)]
)
def test_it_goes_on_past_a_person_only_if_it_is_through_before_or_abreast(abreast, gap, acts):
    person = hazard(gap=gap, abreast=abreast, closing=1.0, person=True)
    found = give_way(Situation(speed=10.0, hazards=person), A)
    assert found == (Constraint(Reason.YIELD, stop(10.0, abreast - 1.0)) if acts else None)


def test_who_it_can_not_stop_for_hides_nobody_whom_it_can():
    gap, abreast, closing = np.array([4.0, 8.0]), np.array([7.0, 15.0]), np.full(2, 8.0)
    both = Hazards(np.full(2, INF), gap, abreast, np.zeros(2), closing, *np.zeros((2, 2), bool))
    assert give_way(Situation(speed=10.0, hazards=both), A).acceleration == pytest.approx(stop(10.0, 14.0))


def test_a_standing_ego_is_taken_to_start_at_a_walk():
    # 5 m at 1 m/s: it would enter after 5 s, in the span of who comes in 4 s, and be through after 11.5 s.
    assert give_way(crossing(gap=32.0, abreast=5.0, speed=0.0), A) is not None
    assert give_way(crossing(gap=8.0 * 12.4, abreast=5.0, speed=0.0), A) is not None
    assert give_way(crossing(gap=8.0 * 12.6, abreast=5.0, speed=0.0), A) is None


def test_it_can_stop_where_its_view_ends():
    assert occlusion(Situation(speed=10.0, visible=INF), A) is None
    constraint = occlusion(Situation(speed=10.0, visible=12.0), A)
    assert constraint.reason is Reason.OCCLUSION
    assert constraint.acceleration == pytest.approx(stop(10.0, 12.0))


@pytest.mark.parametrize(
    ("gap", "abreast", "acceleration"),
    [
        (0.8, 0.0, (0.8 * 13.9 + 0.3 - 10.0) / 0.5),  # 50 km/h at 1 m, 11.1 m/s at 0.8 m
        (0.6, 0.0, (0.6 * 13.9 + 0.3 - 10.0) / 0.5),
        (0.3, 0.0, -4.0),
        (0.3, 30.0, (math.sqrt(4.17**2 + 2.0 * 2.0 * 25.0) + 0.3 - 10.0) / 0.5),  # braking at 2 m/s² from 5 m on
        (2.2, 0.0, INF),  # 30 m/s is the limit anyway
    ],
)
def test_beside_what_stands_it_is_the_slower_the_nearer(gap, abreast, acceleration):
    found = occlusion(Situation(speed=10.0, hazards=hazard(gap=gap, abreast=abreast)), A)
    assert (INF if found is None else found.acceleration) == pytest.approx(acceleration)


@pytest.mark.parametrize("along", [-1.9, 0.5, 1.9])
def test_who_creeps_may_turn_in_and_is_passed_as_what_stands(along):
    creeps = hazard(gap=0.6, along=along)
    assert occlusion(Situation(speed=10.0, hazards=creeps), A).acceleration == pytest.approx((8.34 + 0.3 - 10.0) / 0.5)


def test_what_drove_a_moment_ago_may_go_on_and_is_passed_more_slowly():
    stopped = hazard(gap=1.0, hesitant=True)
    assert occlusion(Situation(speed=10.0, hazards=stopped), A).acceleration == pytest.approx((9.0 + 0.3 - 10.0) / 0.5)
    far = hazard(gap=30.0 / 9.0, hesitant=True)
    assert occlusion(Situation(speed=10.0, hazards=far), A) is None


def test_beside_what_stands_it_may_crawl():
    assert occlusion(Situation(speed=1.0, hazards=hazard(gap=0.01)), A).acceleration == pytest.approx(2.6)


@pytest.mark.parametrize("other", [hazard(gap=0.1, along=2.0), hazard(way=20.0, gap=-0.5, abreast=20.0)])
def test_who_drives_beside_and_what_stands_in_the_way_are_other_rules_matter(other):
    assert occlusion(Situation(speed=10.0, hazards=other), A) is None


def test_a_learned_scene_slows_down_to_a_crawl_and_no_further():
    assert scene(Situation(speed=10.0, scene_way=INF), A) is None
    far = scene(Situation(speed=10.0, scene_way=30.0), A)
    assert far.reason is Reason.SCENE_OBSTACLE
    assert far.acceleration == pytest.approx(stop(10.0, 27.0, A.comfortable_brake))
    assert scene(Situation(speed=10.0, scene_way=1.0), A).acceleration == pytest.approx(-4.0)
    assert scene(Situation(speed=3.0, scene_way=1.0), A).acceleration == pytest.approx((2.0 - 3.0) / 0.5)
    assert scene(Situation(speed=2.0, scene_way=1.0), A).acceleration == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("light", "speed", "way"),
    [
        (Light(RED, 20.0), 10.0, 19.5),
        (Light(UNKNOWN, 20.0), 10.0, 19.5),
        (Light(YELLOW, 20.0), 10.0, 19.5),
        (Light(RED, 0.0), 0.0, -0.5),
        (Light(RED, 0.3), 0.9, -0.2),
        (Light(RED, 6.76), 10.0, 6.26),
        (Light(YELLOW, 17.2), 10.0, 16.7),
    ],
)
def test_it_stops_at_the_line(light, speed, way):
    constraint = traffic_light(Situation(speed=speed, lights=(light,)), A)
    assert constraint.reason is Reason.TRAFFIC_LIGHT
    assert constraint.acceleration == pytest.approx(stop(speed, way, A.comfortable_brake))


@pytest.mark.parametrize(
    "light",
    [
        Light(GREEN, 20.0),
        Light(OFF, 20.0),
        Light(RED, -0.1),
        Light(RED, 6.74),  # 10² / (2 · 6.24) > 8: it can't stop any more
        Light(YELLOW, 17.1),  # 10² / (2 · 16.6) > 3
    ],
)
def test_it_goes_on(light):
    assert traffic_light(Situation(speed=10.0, lights=(light,)), A) is None


def test_the_next_light_counts_once_the_first_is_passed():
    lights = (Light(RED, -3.0), Light(GREEN, 5.0), Light(RED, 40.0), Light(RED, 30.0))
    assert traffic_light(Situation(speed=10.0, lights=lights), A).acceleration == pytest.approx(
        stop(10.0, 39.5, A.comfortable_brake)
    )


def test_the_next_light_counts_where_the_first_is_passed_for_it_is_too_near():
    lights = (Light(RED, 6.74), Light(RED, 40.0))
    assert traffic_light(Situation(speed=10.0, lights=lights), A).acceleration == pytest.approx(
        stop(10.0, 39.5, A.comfortable_brake)
    )


def test_on_the_line_it_goes_on_above_a_walk():
    assert traffic_light(Situation(speed=1.5, lights=(Light(RED, 0.5),)), A) is None
    assert traffic_light(Situation(speed=0.9, lights=(Light(RED, 0.5),)), A) is not None


def limits(*pairs):
    return np.array([way for way, _ in pairs], float), np.array([limit for _, limit in pairs], float)


@pytest.mark.parametrize(
    ("speed", "pairs", "acceleration"),
    [
        (10.0, [(0.0, 10.0)], 0.6),  # 0.3 m/s are the speedometer's
        (10.3, [(0.0, 10.0)], 0.0),
        (11.3, [(0.0, 10.0)], -2.0),
        (20.0, [(0.0, 10.0)], -4.0),
        (10.0, [(0.0, 50.0)], 40.6),  # 30 m/s at most: SPEC F1
        (10.0, [(0.0, 12.0), (11.0, 9.0)], (math.sqrt(105.0) + 0.3 - 10.0) / 0.5),  # 5 m in 0.5 s, 9² + 2 · 2 · 6
        (10.5, [(0.0, 12.0), (10.25, 8.0)], (math.sqrt(84.0) + 0.3 - 10.5) / 0.5),  # 5.25 m, 8² + 2 · 2 · 5
        (10.0, [(0.0, 12.0), (16.0, 10.0)], (12.0 + 0.3 - 10.0) / 0.5),
        (8.4, [(0.0, 12.0), (4.0, 8.0)], (8.0 + 0.3 - 8.4) / 0.5),
        (12.0, [(-5.0, 8.0)], -4.0),
        (31.0, [], -1.4),
    ],
)
def test_speed_limits_here_and_ahead(speed, pairs, acceleration):
    constraint = speed_limit(Situation(speed=speed, speed_limits=limits(*pairs)), A)
    assert constraint.reason is Reason.SPEED_LIMIT
    assert constraint.acceleration == pytest.approx(acceleration)


def on(lateral, heading=0.0):
    return Projection(10.0, lateral, heading)


def test_without_a_route_there_is_no_lane():
    assert lane(Situation(speed=5.0), A) is None


def test_in_the_middle_of_a_straight_lane_both_sides_have_the_same_room():
    # At 10 m/s the horizon is 12 m: 2 · 0.75 / 12² = 0.0104 1/m; at 2 m/s it is 3 m.
    constraint = lane(Situation(speed=10.0, on_route=on(0.0)), A)
    angle = math.atan(2.7 * 1.5 / 144.0)
    assert constraint.reason is Reason.LANE_DEVIATION
    assert constraint.steering == (pytest.approx(-angle), pytest.approx(angle))
    assert constraint.acceleration == INF
    assert lane(Situation(speed=2.0, on_route=on(0.0)), A).steering[1] == pytest.approx(math.atan(2.7 * 1.5 / 9.0))


@pytest.mark.parametrize(("lateral", "heading", "bend"), [(0.4, 0.0, 0.0), (-0.2, 0.05, 0.03), (0.0, -0.1, -0.02)])
def test_the_steering_at_the_limit_ends_at_the_limit(lateral, heading, bend):
    s = Situation(speed=10.0, on_route=on(lateral, heading), route_curvatures=(bend, bend))
    for angle, side in zip(lane(s, A).steering, (-0.75, 0.75), strict=True):
        curvature = math.tan(angle) / A.wheelbase
        assert lateral + math.tan(heading) * 12.0 + 0.5 * (curvature - bend) * 144.0 == pytest.approx(side)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_before_a_bend_begins_it_does_not_cut_the_corner(side):
    # At 10 m/s: straight for 6 m, but a bend of 33 m over 12; 0.7 m to its inner side, where 0.75 are allowed.
    s = Situation(speed=10.0, on_route=on(0.7 * side), route_curvatures=(0.0, 0.03 * side))
    inwards = max(lane(s, A).steering, key=lambda angle: angle * side)
    assert inwards == pytest.approx(side * math.atan(2.7 * 2.0 * 0.05 / 6.0**2))


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_where_the_horizons_exclude_each_other_the_near_one_has_the_last_word(side):
    # Within 6 m it has to turn away from a bend that would need 0.05 1/m over 12.
    s = Situation(speed=10.0, on_route=on(0.9 * side), route_curvatures=(0.0, 0.05 * side))
    away = math.atan(2.7 * 2.0 * (0.75 - 0.9) / 6.0**2)
    assert lane(s, A).steering == (pytest.approx(side * away), pytest.approx(side * away))


def test_a_heading_across_the_lane_is_bounded():
    across = lane(Situation(speed=10.0, on_route=on(0.0, 1.5)), A).steering
    assert across == lane(Situation(speed=10.0, on_route=on(0.0, 1.0)), A).steering
    back = lane(Situation(speed=10.0, on_route=on(0.0, -1.5)), A).steering
    assert back == lane(Situation(speed=10.0, on_route=on(0.0, -1.0)), A).steering


@pytest.mark.parametrize(("speed", "acceleration"), [(10.0, -4.0), (3.0, -2.0), (1.0, 2.0)])
def test_off_its_route_it_crawls_and_without_one_it_need_not(speed, acceleration):
    assert lane(Situation(speed=speed, off_route=True), A).acceleration == pytest.approx(acceleration)
    assert lane(Situation(speed=speed), A) is None


@pytest.mark.parametrize(
    ("lateral", "speed", "acceleration"),
    [(1.0, 5.0, INF), (-1.0, 5.0, INF), (1.01, 5.0, -4.0), (-1.01, 3.0, -2.0), (1.01, 1.0, 2.0)],
)
def test_outside_its_lane_it_crawls_back(lateral, speed, acceleration):
    constraint = lane(Situation(speed=speed, on_route=on(lateral)), A)
    assert constraint.acceleration == pytest.approx(acceleration)
    assert (max(constraint.steering, key=abs) < 0) == (lateral > 0)


@pytest.mark.parametrize("side", [-1.0, 1.0])
@pytest.mark.parametrize("speed", [8.0, 10.0])
def test_where_the_bend_needs_more_than_the_speed_allows_it_slows_down(side, speed):
    # 0.7 m outside in a bend of 17 m: what keeps it within 0.75 m at the horizon needs 0.06 - 2 · 0.05 / L² 1/m.
    s = Situation(speed=speed, on_route=on(-0.7 * side), route_curvatures=(0.06 * side, 0.06 * side))
    slower = math.sqrt(3.6 / (0.06 - 0.1 / (1.2 * speed) ** 2))
    assert lane(s, A).acceleration == pytest.approx(max((slower - speed) / 0.5, -4.0))
    inside = replace(s, speed=8.0, route_curvatures=(-0.06 * side, -0.06 * side))
    assert lane(inside, A).acceleration == INF  # there is room
    assert lane(replace(s, speed=7.0), A).acceleration == INF  # 7² · 0.0586 is 2.9 m/s²
