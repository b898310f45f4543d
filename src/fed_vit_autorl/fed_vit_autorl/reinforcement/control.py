"""Classical controllers that follow a local path: PID, pure pursuit, Stanley and MPC under one lateral interface.

A path is (K, 2) float, K ≥ 2, in `base_link` (rear axle at the origin, x forward, y left) in driving order.
Steering is the road-wheel angle in rad, positive left, within ±`max_steering_angle`.
"""

import math
from typing import Protocol

import numpy as np
from scipy.optimize import lsq_linear

from fed_vit_autorl.reinforcement.route import wrap
from fed_vit_autorl.simulation.vehicle import VehicleParameters


class PID:
    """u = kp·e + ki·∫e dt + kd·de/dt, with the output clipped to `limits` and the integral held while it saturates."""

    def __init__(self, kp: float, ki: float, kd: float, limits: tuple[float, float]):
        self.kp, self.ki, self.kd, self.limits = kp, ki, kd, limits
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self._integral = 0.0
        self._previous: float | None = None

    def step(self, error: float, dt: float) -> float:
        """The output for this error, `dt` seconds after the previous one."""
        derivative = 0.0 if self._previous is None else (error - self._previous) / dt
        self._previous = error
        integral = self._integral + error * dt
        raw = self.kp * error + self.ki * integral + self.kd * derivative
        output = float(min(max(raw, self.limits[0]), self.limits[1]))
        if output == raw or (raw - output) * error < 0.0:
            self._integral = integral
        return output


class SpeedPID(PID):
    """Acceleration in m/s² from the speed error in m/s. The gains command pedals; `scale` m/s² is a full pedal."""

    def __init__(self, kp: float = 0.5, ki: float = 0.1, kd: float = 0.05, scale: float = 3.0):
        super().__init__(kp, ki, kd, (-1.0, 1.0))
        self.scale = scale

    def acceleration(self, target_speed: float, speed: float, dt: float) -> float:
        """Acceleration in [-scale, scale] that brings `speed` to `target_speed`."""
        return self.scale * self.step(target_speed - speed, dt)


class LateralController(Protocol):
    """Steering from a local path."""

    def steer(self, path: np.ndarray, speed: float, dt: float) -> float:
        """Road-wheel angle in rad for a path (K, 2) in `base_link` at `speed` m/s, `dt` s after the previous call."""
        ...


class PurePursuit:
    """δ = atan(2 L y / d²) towards the path point d = clip(gain·v, nearest, furthest) metres away (Coulter 1992)."""

    def __init__(self, vehicle: VehicleParameters, gain: float = 0.9, nearest: float = 4.0, furthest: float = 15.0):
        self.vehicle, self.gain, self.nearest, self.furthest = vehicle, gain, nearest, furthest

    def steer(self, path: np.ndarray, speed: float, dt: float) -> float:
        """See `LateralController`."""
        x, y = point_at_distance(path, min(max(self.gain * speed, self.nearest), self.furthest))
        return _clipped(self.vehicle, math.atan2(2.0 * self.vehicle.wheelbase * y, x * x + y * y))


class Stanley:
    """δ = ψ + atan(k e / (v + softening)) at the front axle (Hoffmann et al. 2007); e > 0: the path is to the left."""

    def __init__(self, vehicle: VehicleParameters, gain: float = 1.0, softening: float = 1.0):
        self.vehicle, self.gain, self.softening = vehicle, gain, softening

    def steer(self, path: np.ndarray, speed: float, dt: float) -> float:
        """See `LateralController`."""
        error, heading, _ = path_errors(path, self.vehicle.wheelbase)
        return _clipped(self.vehicle, heading + float(np.arctan2(self.gain * error, speed + self.softening)))


class SteeringPID:
    """PID on the bearing of the path point `ahead` metres away, in rad."""

    def __init__(
        self, vehicle: VehicleParameters, kp: float = 1.0, ki: float = 0.1, kd: float = 0.1, ahead: float = 5.0
    ):
        self.ahead = ahead
        self.pid = PID(kp, ki, kd, (-vehicle.max_steering_angle, vehicle.max_steering_angle))

    def steer(self, path: np.ndarray, speed: float, dt: float) -> float:
        """See `LateralController`."""
        x, y = point_at_distance(path, self.ahead)
        return self.pid.step(math.atan2(y, x), dt)


class LateralMPC:
    """Linear MPC over `horizon` steps on the kinematic bicycle's path errors: ė = vψ, ψ̇ = vδ/L - vκ.

    Minimises Σ w_e e² + w_ψ ψ² + w_δ (δ - δ_ff)² + w_Δ Δδ² under |δ| ≤ max_steering_angle by bounded least squares;
    δ_ff = atan(Lκ) is the steering that the path's own curvature asks for.
    """

    def __init__(
        self,
        vehicle: VehicleParameters,
        horizon: int = 10,
        step_s: float = 0.1,
        weights: tuple[float, ...] = (1.0, 2.0, 0.5, 4.0),
    ):
        self.vehicle, self.horizon, self.step_s = vehicle, horizon, step_s
        self.weights = np.sqrt(weights)
        self._last = 0.0

    def steer(self, path: np.ndarray, speed: float, dt: float) -> float:
        """See `LateralController`."""
        n, length = self.horizon, self.vehicle.wheelbase
        v = max(speed, 1.0)
        reach = v * self.step_s * np.arange(1, n + 1)
        curvature = np.array([path_errors(path, s)[2] for s in reach])
        error, heading, _ = path_errors(path, 0.0)
        transition = np.array([[1.0, v * self.step_s], [0.0, 1.0]])
        drive = np.array([0.5 * v * self.step_s, 1.0]) * v * self.step_s
        state, free, response = np.array([-error, -heading]), [], np.zeros((2 * n, n))
        for k in range(n):
            state = transition @ state - drive * curvature[k]
            free.append(state)
            column = drive / length
            for row in range(k, n):
                response[2 * row : 2 * row + 2, k] = column
                column = transition @ column
        w_error, w_heading, w_angle, w_change = self.weights
        scale = np.tile((w_error, w_heading), n)
        change = np.eye(n) - np.eye(n, k=-1)
        matrix = np.concatenate((scale[:, None] * response, w_angle * np.eye(n), w_change * change))
        feedforward = np.arctan(length * curvature)
        wanted_change = np.zeros(n)
        wanted_change[0] = self._last
        target = np.concatenate((-scale * np.concatenate(free), w_angle * feedforward, w_change * wanted_change))
        limit = self.vehicle.max_steering_angle
        self._last = float(lsq_linear(matrix, target, bounds=(-limit, limit)).x[0])
        return self._last


LATERAL_CONTROLLERS = {"pure_pursuit": PurePursuit, "stanley": Stanley, "pid": SteeringPID, "mpc": LateralMPC}


def point_at_distance(path: np.ndarray, distance: float) -> tuple[float, float]:
    """The first point (x, y) of the path that lies `distance` m from the origin; the last one when none is that far."""
    start_x = start_y = 0.0
    points = path.tolist()
    for x, y in points:
        if x * x + y * y >= distance * distance:
            break
        start_x, start_y = x, y
    else:
        return tuple(points[-1])
    dx, dy = x - start_x, y - start_y
    # |start + t·step| = distance, the root in [0, 1].
    a, b = dx * dx + dy * dy, 2.0 * (start_x * dx + start_y * dy)
    c = start_x * start_x + start_y * start_y - distance * distance
    root = (-b + math.sqrt(max(b * b - 4.0 * a * c, 0.0))) / (2.0 * max(a, 1e-12))
    root = min(max(root, 0.0), 1.0)
    return start_x + root * dx, start_y + root * dy


def path_errors(path: np.ndarray, x: float) -> tuple[float, float, float]:
    """(y of the path, heading of the path, curvature of the path) where it passes nearest to the point (x, 0)."""
    path = np.concatenate((path[:1] - (path[1:2] - path[:1]) * 2.0, path))
    step = np.diff(path, axis=0)
    length = np.maximum(np.linalg.norm(step, axis=1), 1e-9)
    heading = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
    offset = np.array([x, 0.0]) - path[:-1]
    along = np.clip(np.einsum("ij,ij->i", offset, step) / length**2, 0.0, 1.0)
    foot = path[:-1] + along[:, None] * step
    best = int(np.argmin(np.linalg.norm(foot - (x, 0.0), axis=1)))
    following = min(best + 1, len(heading) - 1)
    curvature = (heading[following] - heading[following - 1]) / length[following] if following else 0.0
    return float(foot[best, 1]), wrap(float(heading[best])), float(curvature)


def _clipped(vehicle: VehicleParameters, angle: float) -> float:
    return float(min(max(angle, -vehicle.max_steering_angle), vehicle.max_steering_angle))
