"""Kernels on a polyline: where a point lies along it, and the place, direction and curvature at an arc length.

A polyline is its knots, (N, 6) float64, N ≥ 2, as `Route.knots` has them: x, y [m] in `map`, arc length s [m], the
unit vector to the next knot (the last repeats the one before) and the speed limit [m/s] from here on.
"""

import numpy as np

from fed_vit_autorl.compiled import compiled

X, Y, S, DX, DY, LIMIT = range(6)

KNOTS = "float64[:, ::1]"
NUMBERS = "Array(float64, 1, 'A', readonly=True)"
POINTS = "Array(float64, 2, 'A', readonly=True)"
"""Types for signatures: the two arrays may be read-only and of any layout."""

SAME_M = 1e-3
SOUND, LIMIT_INVALID, NOT_FINITE, BROKEN, TOO_SHORT = range(5)


@compiled(f"Tuple((int64, float64, {KNOTS}))({POINTS}, {NUMBERS}, float64, float64, float64)")
def measure(points, limits, highest_limit, widest_gap, least_length):
    """(fault, widest gap [m], knots) of points (N, ≥2) with their speed limits (N,); repeated points go.

    Faults, the first of: a limit that is not in (0, `highest_limit`], a coordinate that is not finite, a gap wider
    than `widest_gap`, less than `least_length` metres.
    """
    knots = np.empty((len(points), 6))
    for limit in limits:
        if not 0.0 < limit <= highest_limit:
            return LIMIT_INVALID, 0.0, knots
    count, widest = 0, 0.0
    for i in range(len(points)):
        x, y = points[i, 0], points[i, 1]
        if not (np.isfinite(x) and np.isfinite(y)):
            return NOT_FINITE, 0.0, knots
        knots[count, X], knots[count, Y], knots[count, S], knots[count, LIMIT] = x, y, 0.0, limits[i]
        if count > 0:
            last = count - 1
            dx, dy = x - knots[last, X], y - knots[last, Y]
            step = np.sqrt(dx * dx + dy * dy)
            if step <= SAME_M:
                continue
            widest = max(widest, step)
            knots[count, S] = knots[last, S] + step
            knots[last, DX], knots[last, DY] = dx / step, dy / step
            knots[count, DX], knots[count, DY] = knots[last, DX], knots[last, DY]
        count += 1
    if widest > widest_gap:
        return BROKEN, widest, knots
    if count < 2 or knots[count - 1, S] < least_length:
        return TOO_SHORT, widest, knots
    return SOUND, widest, knots[:count]


@compiled(f"int64({KNOTS}, float64)")
def segment_at(knots, s):
    """The segment, 0 to N - 2, with arc length `s`; the first or last one beyond the ends, the last one for NaN."""
    low, high = 1, len(knots) - 1
    while low < high:
        middle = (low + high) // 2
        if s < knots[middle, S]:
            high = middle
        else:
            low = middle + 1
    return low - 1


@compiled(f"UniTuple(float64, 2)({KNOTS}, float64)")
def point_at(knots, s):
    """(x, y) at arc length `s`; beyond either end the polyline goes on straight."""
    i = segment_at(knots, s)
    beyond = s - knots[i, S]
    return knots[i, X] + beyond * knots[i, DX], knots[i, Y] + beyond * knots[i, DY]


@compiled(f"float64({KNOTS}, float64, float64)")
def heading_at(knots, s, span):
    """Direction [rad] at arc length `s`, of the chord `span` metres before to `span` after."""
    x, y = point_at(knots, s + span)
    from_x, from_y = point_at(knots, s - span)
    return np.arctan2(y - from_y, x - from_x)


@compiled(f"float64({KNOTS}, float64, float64)")
def curvature_at(knots, s, span):
    """Signed curvature [1/m] (left positive) at arc length `s`, of the circle through three points `span` m apart."""
    before_x, before_y = point_at(knots, s - span)
    here_x, here_y = point_at(knots, s)
    after_x, after_y = point_at(knots, s + span)
    ax, ay, bx, by = here_x - before_x, here_y - before_y, after_x - here_x, after_y - here_y
    cx, cy = after_x - before_x, after_y - before_y
    product = np.sqrt(ax * ax + ay * ay) * np.sqrt(bx * bx + by * by) * np.sqrt(cx * cx + cy * cy)
    return 2.0 * (ax * by - ay * bx) / max(product, 1e-9)


@compiled(f"float64({KNOTS}, float64)")
def limit_at(knots, s):
    """The speed limit [m/s] at arc length `s`: that of the last knot passed."""
    last = len(knots) - 1
    return knots[segment_at(knots, s), LIMIT] if s < knots[last, S] else knots[last, LIMIT]


@compiled(f"float64[:, ::1]({KNOTS}, {NUMBERS})")
def points_at(knots, s):
    """Points (n, 2) at arc lengths `s` (n,)."""
    points = np.empty((len(s), 2))
    for i in range(len(s)):
        points[i, 0], points[i, 1] = point_at(knots, s[i])
    return points


@compiled(f"float64[::1]({KNOTS}, {NUMBERS}, float64)")
def headings_at(knots, s, span):
    """`heading_at` (n,) for each of `s` (n,)."""
    headings = np.empty(len(s))
    for i in range(len(s)):
        headings[i] = heading_at(knots, s[i], span)
    return headings


@compiled(f"float64[::1]({KNOTS}, {NUMBERS}, float64)")
def curvatures_at(knots, s, span):
    """`curvature_at` (n,) for each of `s` (n,)."""
    curvatures = np.empty(len(s))
    for i in range(len(s)):
        curvatures[i] = curvature_at(knots, s[i], span)
    return curvatures


@compiled(f"float64[::1]({KNOTS}, {NUMBERS})")
def limits_at(knots, s):
    """`limit_at` (n,) for each of `s` (n,)."""
    limits = np.empty(len(s))
    for i in range(len(s)):
        limits[i] = limit_at(knots, s[i])
    return limits


@compiled(f"UniTuple(float64, 3)({KNOTS}, float64, float64, float64, float64, float64)")
def project(knots, x, y, yaw, start, end):
    """(s [m], lateral [m], heading error [rad]) of a pose at the nearest point of the segments that reach into
    [`start`, `end`] (one at least), as in `Projection`.
    """
    first, last = segment_at(knots, start), segment_at(knots, end)
    if last > first and not knots[last, S] < end:
        last -= 1  # this one only begins where the window ends
    best, nearest, nearest_squared, best_along = first, np.inf, np.inf, 0.0
    for i in range(first, last + 1):
        dx, dy = x - knots[i, X], y - knots[i, Y]
        along, length = dx * knots[i, DX] + dy * knots[i, DY], knots[i + 1, S] - knots[i, S]
        if along < 0.0:
            along = 0.0
        elif along > length:
            along = length
        dx, dy = dx - along * knots[i, DX], dy - along * knots[i, DY]
        squared = dx * dx + dy * dy
        if squared >= nearest_squared and i > first:
            continue
        distance = np.sqrt(squared)
        if not distance >= nearest or i == first:
            best, nearest, nearest_squared, best_along = i, distance, squared, along
        if np.isnan(distance):
            break
    side = knots[best, DX] * (y - knots[best, Y]) - knots[best, DY] * (x - knots[best, X])
    s = knots[best, S] + best_along
    error = (yaw - heading_at(knots, s, 1.0) + np.pi) % (2.0 * np.pi) - np.pi
    return s, np.copysign(nearest, side), error


@compiled(f"float64[:, ::1]({KNOTS}, float64, float64, int64)")
def chords(knots, start, end, count):
    """`count` chords from arc length `start` to `end`, each (s, x, y, unit vector, length): (count, 6)."""
    found = np.empty((count, 6))
    x, y = point_at(knots, start)
    for i in range(count):
        to_x, to_y = point_at(knots, end if i == count - 1 else start + (i + 1) * ((end - start) / count))
        dx, dy = to_x - x, to_y - y
        length = np.sqrt(dx * dx + dy * dy)
        found[i, 0] = start + i * ((end - start) / count)
        found[i, 1], found[i, 2], found[i, 5] = x, y, length
        found[i, 3], found[i, 4] = dx / max(length, 1e-9), dy / max(length, 1e-9)
        x, y = to_x, to_y
    return found


@compiled("UniTuple(float64, 2)(float64[:, ::1], float64, float64)")
def nearest_chord(chords, x, y):
    """(s, lateral) [m] of a point at the nearest of `chords` (C, 6), the first of those equally near."""
    best, nearest, nearest_squared, best_along = 0, np.inf, np.inf, 0.0
    for i in range(len(chords)):
        dx, dy = x - chords[i, 1], y - chords[i, 2]
        along = dx * chords[i, 3] + dy * chords[i, 4]
        if along < 0.0:
            along = 0.0
        elif along > chords[i, 5]:
            along = chords[i, 5]
        dx, dy = dx - along * chords[i, 3], dy - along * chords[i, 4]
        squared = dx * dx + dy * dy
        if squared >= nearest_squared and i > 0:
            continue
        distance = np.sqrt(squared)
        # Not by the squares: two that differ may have one root, and then the first is nearest.
        if not distance >= nearest or i == 0:
            best, nearest, nearest_squared, best_along = i, distance, squared, along
        if np.isnan(distance):
            break
    side = chords[best, 3] * (y - chords[best, 2]) - chords[best, 4] * (x - chords[best, 1])
    return chords[best, 0] + best_along, np.copysign(nearest, side)


@compiled(f"float64[:, ::1]({KNOTS}, {POINTS}, float64, float64, int64)")
def project_points(knots, points, start, end, count):
    """(2, n): s and lateral of points (n, 2) against `count` chords of the polyline between `start` and `end`."""
    line, found = chords(knots, start, end, count), np.empty((2, len(points)))
    for i in range(len(points)):
        found[0, i], found[1, i] = nearest_chord(line, points[i, 0], points[i, 1])
    return found


@compiled(f"float64[:, ::1]({POINTS}, float64, float64, float64)")
def to_local(points, x, y, yaw):
    """Map points (n, 2) in the frame of a pose: x forward, y left."""
    local, cos, sin = np.empty((len(points), 2)), np.cos(yaw), np.sin(yaw)
    for i in range(len(points)):
        dx, dy = points[i, 0] - x, points[i, 1] - y
        local[i, 0], local[i, 1] = dx * cos + dy * sin, dy * cos - dx * sin
    return local


@compiled(f"float64[:, ::1]({POINTS}, float64, float64, float64)")
def to_map(points, x, y, yaw):
    """Points (n, 2) in the frame of a pose in map coordinates."""
    placed, cos, sin = np.empty((len(points), 2)), np.cos(yaw), np.sin(yaw)
    for i in range(len(points)):
        dx, dy = points[i, 0], points[i, 1]
        placed[i, 0], placed[i, 1] = x + dx * cos - dy * sin, y + dx * sin + dy * cos
    return placed
