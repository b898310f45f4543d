"""What the nodes said about a frame, as something to draw into it."""

import numpy as np
from fed_vit_msgs.msg import ControlCommand, ControlProposal, Scene

from fed_vit_autorl.data.sample import CameraModel
from fed_vit_autorl.evaluation.drawing import Overlay
from fed_vit_common.conversions import path_array


def overlay_of(
    scene: Scene | None,
    proposal: ControlProposal | None,
    command: ControlCommand | None,
    camera: CameraModel,
    speed: float | None,
    title: str,
) -> Overlay:
    """The overlay of one frame; a part that never came is left out.

    Args:
        camera: the frame's camera, for the planned path.
        speed: [m/s].
        title: for instance the vehicle's name.
    """
    objects = scene.objects if scene else []
    mask = None
    if scene and scene.mask_width * scene.mask_height:
        mask = np.frombuffer(scene.free_space, np.uint8).reshape(scene.mask_height, scene.mask_width) / 255.0
    return Overlay(
        boxes=np.array([(item.x_min, item.y_min, item.x_max, item.y_max) for item in objects]).reshape(-1, 4),
        classes=np.array([item.class_id for item in objects], int),
        scores=np.array([item.score for item in objects]),
        free_space=mask,
        path=path_array(proposal.path) if proposal and not proposal.reason else None,
        camera=camera,
        speed=speed,
        steering_angle=command.steering_angle if command else None,
        throttle=command.throttle if command else 0.0,
        brake=command.brake if command else 0.0,
        reason=command.reason.partition(",")[0] if command else "no_command",
        title=title,
    )
