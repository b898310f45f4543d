"""`fedvit simulate`: N virtual vehicles through the real protocol stack, and what it cost. Bench `fleet`: 10, 100 and
1,000.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import click
import numpy as np
import safetensors.numpy

from fed_vit_aggregator.regions import ENGINES, TIMEOUT_S, Engine, RegionPlan, RegionRound
from fed_vit_autorl.cli.output import CommandError, emit, json_option
from fed_vit_autorl.deployment.config_file import from_mapping
from fed_vit_autorl.deployment.fleet_config import FleetConfig
from fed_vit_autorl.federated.strategies import STRATEGIES
from fed_vit_autorl.federated.update import Tensors, Update, UpdateMetadata


def simulate_fleet(
    vehicles: int, rounds: int = 1, width: int = 100, regions: int = 1, engine: str = "local", keep: Path | None = None
) -> dict:
    """Runs the rounds; seconds are those of the rounds, connecting excluded. Raises TimeoutError, RuntimeError."""
    names = [f"v{index:04d}" for index in range(vehicles)]
    key = secrets.token_bytes(32)
    plans = [
        RegionPlan(
            _config(f"region{index}", len(names[index::regions]), rounds, regions > 1),
            names[index::regions],
            width,
            key,
            str((keep / f"region{index}").resolve()) if keep else "",
        )
        for index in range(regions)
    ]
    running = ENGINES[engine](plans)
    try:
        connected = max(running.call("start"))
        ended = [_round(running, number, width) for number in range(1, rounds + 1)]
        cost = _total(running.call("cost"), vehicles)
    finally:
        running.stop()
    accepted = sum(each.updates for done in ended for each in done)
    return {
        "vehicles": vehicles,
        "regions": regions,
        "engine": engine,
        "rounds": rounds,
        "parameters": width * (width + 1),
        "seconds": sum(max(each.seconds for each in done) for done in ended),
        "seconds_to_connect": connected,
        "updates_accepted": accepted,
        "messages_lost": vehicles * rounds - accepted,
        **cost,
    }


def _round(engine: Engine, number: int, width: int) -> list[RegionRound]:
    """One round of all regions; of several regions' models one is made and handed down."""
    done = engine.call("round", number)
    if len(done) > 1:
        # Each region had release 2n - 1, made 2n, and gets 2n + 1.
        model = merged([safetensors.numpy.load(each.model) for each in done], [each.updates for each in done], number)
        engine.call("take", 2 * number + 1, safetensors.numpy.save(model))
    return done


def merged(models: list[Tensors], updates: list[int], number: int) -> Tensors:
    """The mean of regional models by the updates that are in each: the mean over all vehicles."""
    strategy = STRATEGIES.build("fedavg")
    zero = {name: np.zeros_like(tensor) for name, tensor in models[0].items()}
    strategy.begin(zero, number)
    for index, (model, count) in enumerate(zip(models, updates, strict=True)):
        if count:
            strategy.add(Update(model, UpdateMetadata(number, 0, f"region{index}", count)), count)
    return strategy.finish()


def _config(region: str, vehicles: int, rounds: int, below: bool) -> FleetConfig:
    return from_mapping(
        {
            "federation": {
                "run": "simulation",
                "region": region,
                "num_rounds": rounds,
                "vehicles_per_round": vehicles,
                "min_vehicles": vehicles,
                "deadline_s": TIMEOUT_S,
                "below": below,
            },
            "communication": {"compression_ratio": 0.1},
        },
        FleetConfig,
    )


def _total(costs: list[dict[str, float]], vehicles: int) -> dict[str, float]:
    total = {name: sum(cost[name] for cost in costs) for name in costs[0]}
    return {**total, "memory_mib_per_vehicle": total["memory_mib_vehicles"] / vehicles}


@click.command()
@click.option("--vehicles", default=10, show_default=True, type=click.IntRange(1, 10_000), help="How many.")
@click.option("--rounds", default=1, show_default=True, type=click.IntRange(1, 1000), help="How many rounds.")
@click.option("--regions", default=1, show_default=True, type=click.IntRange(1, 100), help="Clouds below a global one.")
@click.option(
    "--engine", default="local", show_default=True, type=click.Choice(sorted(ENGINES)), help="What runs them."
)
@click.option(
    "--width", default=100, show_default=True, type=click.IntRange(1, 5000), help="The model is WIDTH × WIDTH."
)
@click.option("--keep", type=click.Path(path_type=Path), help="Keep all state and logs in this folder.")
@json_option
def simulate(
    vehicles: int, rounds: int, regions: int, engine: str, width: int, keep: Path | None, as_json: bool
) -> None:
    """Run virtual vehicles through the real protocol: mosquitto with TLS, the aggregator, sealed and signed updates.

    \b
    Examples:
      fedvit simulate --vehicles 100
      fedvit simulate --vehicles 1000 --rounds 3 --json
      RAY_ADDRESS=auto fedvit simulate --vehicles 2000 --regions 8 --engine ray
    """
    if regions > vehicles:
        raise CommandError(f"{regions} regions need at least as many vehicles")
    try:
        emit(simulate_fleet(vehicles, rounds, width, regions, engine, keep), as_json)
    except ImportError as error:
        raise CommandError(f"{error}: install the extra `scale`") from error
    except (TimeoutError, RuntimeError, FileNotFoundError) as error:
        raise CommandError(str(error)) from error


def bench() -> dict:
    """One round with 10, 100 and 1,000 vehicles: the slope, and the figures of the largest."""
    results = {vehicles: simulate_fleet(vehicles) for vehicles in (10, 100, 1000)}
    slope = {str(vehicles): result["seconds"] for vehicles, result in results.items()}
    memory = {str(vehicles): result["memory_mib_per_vehicle"] for vehicles, result in results.items()}
    lost = sum(result["messages_lost"] for result in results.values())
    return {
        **results[1000],
        "messages_lost": lost,
        "seconds_by_vehicles": slope,
        "memory_mib_per_vehicle_by_vehicles": memory,
    }
