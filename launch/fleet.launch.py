"""ros2 launch launch/fleet.launch.py --show-args says what can be set."""

from fed_vit_bringup.launch_graph import describe


def generate_launch_description():
    return describe("fleet")
