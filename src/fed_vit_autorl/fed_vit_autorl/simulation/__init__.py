"""The embedded world: SUMO traffic, MuJoCo sensors, weather, events and truth, without ROS and without a wall clock."""

import os
from importlib import import_module

# MuJoCo chooses its OpenGL when it is first imported; without a screen only EGL and OSMesa work.
os.environ.setdefault("MUJOCO_GL", "egl")

_PUBLIC = {"CARLAFederatedEnv": "env", "DrivingEnv": "env", "ScenarioGenerator": "scenarios", "World": "world"}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> object:
    """Public names are imported when they are asked for: who needs the vehicle model alone needs no SUMO."""
    if name not in _PUBLIC:
        raise AttributeError(f"{__name__} has no {name}")
    return getattr(import_module(f".{_PUBLIC[name]}", __name__), name)
