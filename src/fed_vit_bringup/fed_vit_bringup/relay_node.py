"""A node of the vehicle without its work: it answers at once with a message as large as the real one's.

The graph of these is the floor that the middleware sets to the real graph's latency.
"""

from typing import Any

from fed_vit_msgs.msg import ControlCommand, ControlProposal, Scene
from geometry_msgs.msg import Point

from fed_vit_autorl.edge.topics import TOPICS
from fed_vit_common.node import VehicleNode, run
from fed_vit_common.trace import close_stamp, open_stamp

MASK_PIXELS = 160 * 96
FEATURES = 192
WAYPOINTS = 20
# By the node's name: what it reads, what it writes, and an answer of the real size.
ROLES: dict[str, tuple[str, str, Any]] = {
    "perception": (
        "camera/image",
        "perception/fed_vit",
        lambda: Scene(free_space=bytes(MASK_PIXELS), lane=bytes(MASK_PIXELS), features=[0.0] * FEATURES),
    ),
    "policy": ("perception/fed_vit", "policy/proposal", lambda: ControlProposal(path=[Point()] * WAYPOINTS)),
    "safety": ("policy/proposal", "control/commands", ControlCommand),
}


class RelayNode(VehicleNode):
    """Passes the stamp and the trace on; which node it stands for is told by its name."""

    def __init__(self, **options: Any) -> None:
        super().__init__("perception", **options)

    def setup(self, parameters: Any) -> None:
        """Reads all that the real node reads; one of it is answered."""
        source, target, make = ROLES[self.get_name()]
        self._answer = make()
        self._publisher = self.publish_on(target)
        for topic in TOPICS.values():
            if self.get_name() in topic.subscribers:
                self.listen(topic.name, self._on_message if topic.name == source else lambda message, info: None)

    def _on_message(self, message: Any, info: dict) -> None:
        stamp = open_stamp(self.get_name(), info)
        self._answer.header = message.header
        self._answer.trace = close_stamp(getattr(message, "trace", []), stamp)
        self._publisher.publish(self._answer)


def main() -> None:
    """Runs the node."""
    run(RelayNode)
