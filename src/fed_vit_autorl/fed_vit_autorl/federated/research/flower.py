"""The fleet's strategies, stages and trainers as a Flower app (extra `flower`; Flower 1.41, message API).

    server = server_app(weights, rounds=3, aggregation="multi_krum", stages=["clip", "top_k", "quantise"])
    client = client_app(train)

run by `flwr run` or `flower-simulation` like any other. Updates travel as the bytes of `federated.pipeline`, so that
what is clipped, noised and compressed in the fleet is so here; a vehicle's residual lives in Flower's client state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from ..pipeline import Pipeline
from ..refusal import UpdateRefused
from ..selection import weighting
from ..strategies import STRATEGIES
from ..update import Layout, Tensors, Update, UpdateMetadata

Spec = str | Mapping[str, Any]
Train = Callable[[Tensors, dict[str, Any]], tuple[Tensors, int, dict[str, float]]]
"""Global tensors and the round's configuration → trained tensors, samples, metrics."""

ARRAYS, CONFIG, UPDATE, STAGES, RESIDUAL = "arrays", "config", "update", "stages", "residual"


class FleetStrategy(FedAvg):
    """Flower's sampling and evaluation, a fleet's aggregation and stages; `options` are those of Flower's FedAvg."""

    def __init__(self, aggregation: Spec, stages: Sequence[Spec], weighted_by: str = "samples", **options: Any) -> None:
        super().__init__(arrayrecord_key=ARRAYS, configrecord_key=CONFIG, **options)
        self._strategy = STRATEGIES.build(aggregation)
        self._stages = list(stages)
        self._weight = weighting(weighted_by)
        self._model: Tensors = {}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        self._model = tensors_of(arrays)
        config[STAGES] = msgspec.json.encode(self._stages).decode()
        for name, value in self._strategy.client_settings().items():
            config[name] = value
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The new global model; a reply with an update that cannot be read is left out and counted."""
        valid, _ = self._check_and_log_replies(replies, is_train=True, validate=False)
        pipeline = Pipeline.from_config(self._stages, Layout.of(self._model))
        self._strategy.begin(self._model, server_round)
        refused = 0
        for reply in sorted(valid, key=lambda message: message.metadata.src_node_id):
            try:
                update = pipeline.decode(reply.content[CONFIG][UPDATE])
            except (UpdateRefused, KeyError, TypeError):
                refused += 1
                continue
            self._strategy.add(update, self._weight(update.metadata))
        return record_of(self._strategy.finish()), MetricRecord({"refused": refused})


def client_app(train: Train) -> ClientApp:
    """A Flower client that trains with `train` and sends its update through the fleet's stages."""
    app = ClientApp()

    @app.train()
    def _train(message: Message, context: Context) -> Message:
        config = dict(message.content[CONFIG])
        model = tensors_of(message.content[ARRAYS])
        trained, samples, metrics = train(model, config)
        delta = {name: trained[name] - tensor for name, tensor in model.items()}
        pipeline = Pipeline.from_config(msgspec.json.decode(config[STAGES]), Layout.of(model))
        if RESIDUAL in context.state.array_records:
            pipeline.load_state_dict(tensors_of(context.state[RESIDUAL]))
        number = config["server-round"]
        metadata = UpdateMetadata(number, number, str(context.node_id), samples, metrics)
        data = pipeline.encode(Update(delta, metadata))
        context.state[RESIDUAL] = record_of(pipeline.state_dict())
        # Flower wants a metric to weigh by in every reply.
        content = RecordDict({CONFIG: ConfigRecord({UPDATE: data}), "metrics": MetricRecord({"num-examples": samples})})
        return Message(content, reply_to=message)

    return app


def server_app(
    weights: Tensors, rounds: int, aggregation: Spec = "fedavg", stages: Sequence[Spec] = (), **options: Any
) -> ServerApp:
    """A Flower server for `rounds` rounds from `weights`; its result is in the context's state under `arrays`."""
    app = ServerApp()

    @app.main()
    def _main(grid: Grid, context: Context) -> None:
        strategy = FleetStrategy(aggregation, stages, fraction_evaluate=0.0, **options)
        result = strategy.start(grid, record_of(weights), num_rounds=rounds)
        context.state[ARRAYS] = result.arrays

    return app


def tensors_of(record: ArrayRecord) -> Tensors:
    """Arrays of Flower by name."""
    return {name: array.numpy() for name, array in record.items()}


def record_of(tensors: Mapping[str, np.ndarray]) -> ArrayRecord:
    """Inverse of `tensors_of`."""
    return ArrayRecord({name: Array(np.ascontiguousarray(tensor)) for name, tensor in tensors.items()})
