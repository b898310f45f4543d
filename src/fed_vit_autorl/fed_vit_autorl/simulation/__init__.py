"""The embedded world: SUMO traffic, MuJoCo sensors, weather, events and truth, without ROS and without a wall clock."""

import os

# MuJoCo chooses its OpenGL when it is first imported; without a screen only EGL and OSMesa work.
os.environ.setdefault("MUJOCO_GL", "egl")
