"""Flower's aggregation of the benchmark's updates: its three averages, Krum and the median. Runs in the peers' venv."""

import json
import sys

import numpy as np
from data import samples_of, seconds, update_of
from flwr.app import ArrayRecord, MetricRecord, RecordDict
from flwr.common import Code, FitRes, Status, ndarrays_to_parameters
from flwr.server.strategy.aggregate import aggregate, aggregate_inplace, aggregate_krum, aggregate_median
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords


def main(vehicles: int, results_path: str) -> None:
    arrays = [(list(update_of(index).values()), samples_of(index)) for index in range(vehicles)]
    figures: dict[str, float] = {}
    results: dict[str, np.ndarray] = {}

    def measure(name: str, work, repeats: int) -> None:
        def keep() -> None:
            results[name] = work()

        figures[name] = seconds(keep, repeats)
        results[name] = np.concatenate([np.asarray(array).reshape(-1) for array in results[name]])

    measure("aggregate", lambda: aggregate(arrays), 3)
    measure("median", lambda: aggregate_median(arrays), 1)
    measure("krum", lambda: aggregate_krum(arrays, vehicles // 5, 0), 1)
    status = Status(Code.OK, "")
    replies = [(None, FitRes(status, ndarrays_to_parameters(update), samples, {})) for update, samples in arrays]
    measure("aggregate_inplace", lambda: aggregate_inplace(replies), 3)
    replies.clear()  # 2.3 GB
    records = [
        RecordDict({"arrays": ArrayRecord(update), "metrics": MetricRecord({"num-examples": samples})})
        for update, samples in arrays
    ]
    measure("aggregate_arrayrecords", lambda: aggregate_arrayrecords(records, "num-examples").to_numpy_ndarrays(), 3)
    np.savez(results_path, **results)
    print(json.dumps(figures))


main(int(sys.argv[1]), sys.argv[2])
