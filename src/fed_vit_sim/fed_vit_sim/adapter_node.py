"""The node between the vehicle's namespace and the vehicle itself."""

import time
from typing import Any

from fed_vit_msgs.msg import ControlCommand

from fed_vit_common.node import VehicleNode, run
from fed_vit_sim import carla_adapter, road_adapters  # noqa: F401  they register themselves
from fed_vit_sim.integration import AdapterParameters, VehicleIntegration

TICK_S = 0.05
SILENT = "command_silent"


class AdapterNode(VehicleNode):
    """Hands commands to the vehicle; brakes when there are none, since a vehicle may keep the last one for ever."""

    PARAMETERS = AdapterParameters

    def __init__(self, **options: Any) -> None:
        self._integration: VehicleIntegration | None = None
        super().__init__("adapter", **options)

    def setup(self, parameters: AdapterParameters) -> None:
        """Connects to the vehicle."""
        known = VehicleIntegration.registered
        if parameters.integration not in known:
            raise ValueError(f"no integration {parameters.integration!r}; there are: {', '.join(sorted(known))}")
        self._integration = known[parameters.integration](self, parameters)
        self._timeout = parameters.command_timeout
        self._heard = float("-inf")
        self._commands = self._silences = 0
        self.listen("control/commands", self._on_command)
        self.every(TICK_S, self._tick)

    def teardown(self) -> None:
        """Leaves the vehicle."""
        if self._integration:
            self._integration.close()
            self._integration = None

    def _on_command(self, command: ControlCommand, info: dict) -> None:
        self._integration.send(command)
        self._heard = time.monotonic()
        self._commands += 1

    def _tick(self) -> None:
        self._integration.tick()
        if time.monotonic() - self._heard > self._timeout:
            self._silences += 1
            brake = ControlCommand(brake=1.0, hazard_lights=True, reason=SILENT)
            brake.header.stamp = self.get_clock().now().to_msg()
            self._integration.send(brake)

    def diagnose(self) -> tuple[int, str, dict[str, Any]]:
        """The vehicle's health, unless the commands are silent."""
        level, text, values = self._integration.health()
        values = {**values, "commands": self._commands, "silent_ticks": self._silences}
        silent = time.monotonic() - self._heard > self._timeout
        return (2, "no commands: braking", values) if silent else (level, text, values)


def main() -> None:
    """Runs the node."""
    run(AdapterNode)
