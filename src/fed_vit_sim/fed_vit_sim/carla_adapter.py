"""Vehicles in CARLA: through the CARLA ROS bridge, or through the simulator's own ROS 2 interface.

Sensors are not touched here: the graph remaps the vehicle's sensor topics onto CARLA's.
"""

from typing import Any

from carla_msgs.msg import (
    CarlaCollisionEvent,
    CarlaEgoVehicleControl,
    CarlaEgoVehicleInfo,
    CarlaEgoVehicleStatus,
    CarlaLaneInvasionEvent,
    CarlaTrafficLightInfoList,
    CarlaTrafficLightStatusList,
)
from fed_vit_msgs.msg import ControlCommand, TrafficLights
from nav_msgs.msg import Odometry, Path
from std_msgs.msg import Float32

from fed_vit_autorl.edge.topics import Qos
from fed_vit_autorl.reinforcement.route import DEFAULT_SPEED_LIMIT, Pose, Route
from fed_vit_common.conversions import path_array
from fed_vit_common.node import VehicleNode
from fed_vit_common.qos import PROFILES
from fed_vit_sim.carla_conversions import (
    carla_control,
    collision_event,
    lane_event,
    max_steering_angle,
    planar,
    route_command,
    signed_speed,
)
from fed_vit_sim.carla_lights import lights_ahead, stop_lines
from fed_vit_sim.integration import AdapterParameters, VehicleIntegration


class CarlaNative(VehicleIntegration):
    """CARLA started with its own ROS 2 interface: it takes controls, and gives sensors only.

    There is no odometry, status, collision or traffic light in it; the vehicle needs other sources for them.
    """

    name = "carla_native"

    def __init__(self, node: VehicleNode, parameters: AdapterParameters) -> None:
        super().__init__(node, parameters)
        self._max_angle = parameters.max_steering_angle
        topic = f"/carla/{parameters.role}/vehicle_control_cmd"
        self._control = node.create_publisher(CarlaEgoVehicleControl, topic, PROFILES[Qos.EVENT])

    def send(self, command: ControlCommand) -> None:
        """Publishes the command as CARLA's control, with the command's stamp."""
        self._control.publish(carla_control(command, self._max_angle))

    def close(self) -> None:
        """Destroys the handles."""
        self._node.destroy_publisher(self._control)
        super().close()


class CarlaBridge(CarlaNative):
    """The CARLA ROS bridge, and the embedded world, which speaks as the bridge does.

    Beside the bridge's topics it reads ``/carla/<role>/speed_limit`` (std_msgs/Float32, m/s), which is optional.
    """

    name = "carla_bridge"

    def __init__(self, node: VehicleNode, parameters: AdapterParameters) -> None:
        super().__init__(node, parameters)
        self._route: Route | None = None
        self._route_message: Any = None
        self._path: Path | None = None
        self._speed_limit = DEFAULT_SPEED_LIMIT
        self._near: float | None = None
        self._infos: list = []
        self._states: dict[int, int] = {}
        self._lines: dict[int, float] = {}
        self._speed: float | None = None
        self._publish_route = node.publish_on("route/command").publish
        self._publish_lights = node.publish_on("traffic_lights").publish
        self._publish_event = node.publish_on("vehicle/events").publish
        node.listen("odometry", self._on_odometry)
        own = f"/carla/{parameters.role}"
        latched, event = PROFILES[Qos.LATCHED], PROFILES[Qos.EVENT]
        self._listen(CarlaEgoVehicleInfo, f"{own}/vehicle_info", self._on_info, latched)
        self._listen(CarlaEgoVehicleStatus, f"{own}/vehicle_status", self._on_status, event)
        self._listen(CarlaCollisionEvent, f"{own}/collision", self._on_collision, event)
        self._listen(CarlaLaneInvasionEvent, f"{own}/lane_invasion", self._on_lane, event)
        self._listen(Path, f"{own}/waypoints", self._on_path, latched)
        self._listen(Float32, f"{own}/speed_limit", self._on_speed_limit, latched)
        lights = "/carla/traffic_lights"
        self._listen(CarlaTrafficLightInfoList, f"{lights}/info", self._on_light_infos, latched)
        self._listen(CarlaTrafficLightStatusList, f"{lights}/status", self._on_light_states, latched)

    def health(self) -> tuple[int, str, dict[str, Any]]:
        """Whether there is a route, and the vehicle's own speed [m/s]."""
        values = {"speed": self._speed, "lights_on_route": len(self._lines), "speed_limit": self._speed_limit}
        return (0, "ok", values) if self._route else (1, "no route yet", values)

    def _on_info(self, info: CarlaEgoVehicleInfo) -> None:
        self._max_angle = max_steering_angle(info)

    def _on_status(self, status: CarlaEgoVehicleStatus) -> None:
        self._speed = signed_speed(status)

    def _on_collision(self, event: CarlaCollisionEvent) -> None:
        self._publish_event(collision_event(event))

    def _on_lane(self, event: CarlaLaneInvasionEvent) -> None:
        self._publish_event(lane_event(event))

    def _on_path(self, path: Path) -> None:
        self._path = path
        self._renew_route()

    def _on_speed_limit(self, limit: Float32) -> None:
        if limit.data != self._speed_limit:
            self._speed_limit = limit.data
            self._renew_route()

    def _renew_route(self) -> None:
        if self._path is None:
            return
        message = route_command(self._path, self._speed_limit)
        self._route = Route(path_array(message.path))
        self._route_message, self._near = message, None
        self._lines = stop_lines(self._route, self._infos)

    def _on_light_infos(self, infos: CarlaTrafficLightInfoList) -> None:
        self._infos = list(infos.traffic_lights)
        if self._route:
            self._lines = stop_lines(self._route, self._infos)

    def _on_light_states(self, states: CarlaTrafficLightStatusList) -> None:
        self._states = {light.id: light.state for light in states.traffic_lights}

    def _on_odometry(self, odometry: Odometry, info: dict) -> None:
        """The bridge tells of lights only when one changes, so the distances are renewed as the vehicle moves."""
        if self._route_message is not None:
            self._publish_route(self._route_message)
            self._route_message = None
        lights = TrafficLights(header=odometry.header)
        if self._route:
            pose = Pose(*planar(odometry.pose.pose))
            self._near = self._route.project(pose, self._near).s
            lights.lights = lights_ahead(self._route, self._lines, self._states, self._near + self._parameters.front)
        self._publish_lights(lights)
