"""The fleet as a Flower app, through Flower's own messages and strategy loop, where the extra `flower` is installed."""

import numpy as np
import pytest

pytest.importorskip("flwr")

from flwr.app import Context, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from fed_vit_autorl.federated.research.flower import FleetStrategy, client_app, record_of, tensors_of

TaskIdentity.task_id = TaskIdentity.run_id = 1  # what Flower's runner sets in a real process
TaskIdentity.node_id = 0
TARGETS = {1: 1.0, 2: 1.2, 3: 0.8, 4: 1.0, 5: -50.0}  # the last one lies


class LoopGrid(Grid):
    """Hands each message to the client app of its node and the reply back."""

    def __init__(self, app, nodes):
        self.app = app
        self.contexts = {node: Context(1, node, {}, RecordDict(), {}) for node in nodes}

    def set_run(self, run):
        self._run = run

    @property
    def run(self):
        return self._run

    def create_message(self, content, message_type, dst_node_id, group_id, ttl=None):
        return Message(content, dst_node_id, message_type)

    def get_node_ids(self):
        return list(self.contexts)

    def push_messages(self, messages):
        raise NotImplementedError

    def pull_messages(self, message_ids):
        raise NotImplementedError

    def send_and_receive(self, messages, *, timeout=None):
        replies = []
        for message in messages:
            node = message.metadata.dst_node_id
            message.metadata.__dict__["_message_id"] = str(node)
            replies.append(self.app(message, self.contexts[node]))
        return replies


def test_rounds_of_flower_with_a_robust_rule_and_compressed_updates():
    seen = []

    def train(model, config):
        seen.append(config["server-round"])
        node = len(seen) % 5 + 1
        return {name: tensor + 0.5 * (TARGETS[node] - tensor) for name, tensor in model.items()}, 10, {"loss": 1.0}

    grid = LoopGrid(client_app(train), range(1, 6))
    strategy = FleetStrategy(
        "median", [{"top_k": {"ratio": 0.5}}, {"quantise": {"bits": 8}}], fraction_evaluate=0.0, min_available_nodes=5
    )
    result = strategy.start(grid, record_of({"w": np.zeros(64, np.float32)}), num_rounds=12)
    np.testing.assert_allclose(tensors_of(result.arrays)["w"], 1.0, atol=0.25)
    assert seen == [number for number in range(1, 13) for _ in range(5)]


def test_the_residual_lives_in_flowers_client_state():
    grid = LoopGrid(client_app(lambda model, config: ({"w": model["w"] + np.arange(1, 5)}, 1, {})), [1, 2])
    strategy = FleetStrategy("fedavg", [{"top_k": {"ratio": 0.25}}], fraction_evaluate=0.0)
    strategy.start(grid, record_of({"w": np.zeros(4, np.float32)}), num_rounds=1)
    residual = tensors_of(grid.contexts[1].state["residual"])["residual"]
    np.testing.assert_array_equal(residual, [1, 2, 3, 0])  # the largest of 1, 2, 3, 4 was sent
