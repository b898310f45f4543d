"""What a policy drives on, as the library's types; each message is checked before it is used."""

import numpy as np
from fed_vit_msgs.msg import RouteCommand, Scene, TrafficLights

from fed_vit_autorl.data.classes import OBJECT_CLASSES
from fed_vit_autorl.reinforcement.policy_io import PolicyReason, PolicyRefused, SceneView
from fed_vit_autorl.reinforcement.route import Route
from fed_vit_autorl.safety.types import Light, LightState
from fed_vit_common.conversions import path_array

MAX_OBJECTS = 256
PASSED_M = -1.0


def scene_view(message: Scene) -> SceneView:
    """What perception saw; objects without a position or of an unknown class are left out."""
    placed = [
        item for item in message.objects[:MAX_OBJECTS] if item.has_position and item.class_id < len(OBJECT_CLASSES)
    ]
    return SceneView(
        features=np.array(message.features, np.float32),
        positions=np.array([(item.position.x, item.position.y) for item in placed], np.float64).reshape(-1, 2),
        classes=np.array([item.class_id for item in placed], np.int64),
        scores=np.array([item.score for item in placed], np.float64),
        free_distance=np.array(message.free_distance, np.float64),
    )


def next_light(message: TrafficLights) -> Light | None:
    """The nearest light that is not passed yet, or None.

    Raises:
        PolicyRefused: a distance is NaN or infinite.
    """
    for light in message.lights:
        if not np.isfinite(light.distance):
            raise PolicyRefused(PolicyReason.LIGHTS_NOT_FINITE, f"light {light.id!r}")
        if light.distance > PASSED_M:
            known = light.state in LightState.__members__.values()
            return Light(LightState(light.state) if known else LightState.UNKNOWN, light.distance)
    return None


def route_of(message: RouteCommand) -> Route:
    """The commanded route.

    Raises:
        RouteRefused: it can't be driven.
    """
    limits = np.array(message.speed_limits, np.float64) if len(message.speed_limits) else None
    return Route(path_array(message.path), limits)
