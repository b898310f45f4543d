"""`fedvit simulate`: N virtual vehicles through the real protocol stack, and what it cost. Bench `fleet`: 10, 100 and
1,000.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fed_vit_aggregator.local import LocalCloud
from fed_vit_aggregator.regions import ENGINES, IDENTITY, TIMEOUT_S, Engine, RegionPlan, RegionResult
from fed_vit_autorl.cli.output import CommandError, emit, json_option
from fed_vit_autorl.deployment.config_file import from_mapping
from fed_vit_autorl.deployment.fleet_config import FleetConfig
from fed_vit_autorl.deployment.keys import save_public_key
from fed_vit_autorl.federated.virtual.vehicles import write_linear_release

ABOVE = "above"
_DENSE = {"compression": "none", "quantization_bits": 32}


def simulate_fleet(
    vehicles: int, rounds: int = 1, width: int = 100, regions: int = 1, engine: str = "local", keep: Path | None = None
) -> dict:
    """Runs the rounds; `seconds` are those of the rounds, `seconds_to_roll_out` those until every vehicle runs the last
    one's release. Raises TimeoutError, RuntimeError.
    """
    names = [f"v{index:04d}" for index in range(vehicles)]
    with _folder(keep) as folder, ExitStack() as stack:
        running = ENGINES[engine](regions)
        stack.callback(running.stop)
        files = _base(folder, width)
        cloud = None
        if regions > 1:
            config = _config(ABOVE, regions, rounds)
            cloud = LocalCloud(folder / ABOVE, config, folder / "base", folder / "keys", host=running.host)
            stack.enter_context(cloud)
        plans = []
        for index in range(regions):
            region, members = f"region{index}", names[index::regions]
            plan = RegionPlan(
                _config(region, len(members), rounds),
                members,
                files | (_enrolled(cloud, region) if cloud else {}),
                (ABOVE, cloud.settings.broker) if cloud else None,
                str(folder / region) if keep else "",
            )
            plans.append(plan)
        running.begin(plans)
        connected, results = _run(running, rounds)
        seconds = _seconds(cloud) if cloud else results[0].seconds
    accepted = sum(result.updates for result in results)
    cost = {name: sum(result.cost[name] for result in results) for name in results[0].cost}
    return {
        "vehicles": vehicles,
        "regions": regions,
        "engine": engine,
        "rounds": rounds,
        "parameters": width * (width + 1),
        "seconds": sum(seconds),
        "seconds_to_connect": connected,
        "seconds_to_roll_out": max(result.rollout_s for result in results),
        "updates_accepted": accepted,
        "messages_lost": vehicles * rounds - accepted,
        "refused": sum(result.refused for result in results),
        **cost,
        "memory_mib_per_vehicle": cost["memory_mib_vehicles"] / vehicles,
    }


def _run(running: Engine, rounds: int) -> tuple[float, list[RegionResult]]:
    """Each round makes the next version, in a region below others too."""
    return max(running.call("start")), running.call("finish", rounds + 1)


def _seconds(cloud: LocalCloud) -> list[float]:
    """Of each round, once the last one has ended: a little after its release is with the regions."""
    state = cloud.wait(lambda state: state["finished"], TIMEOUT_S)
    return [each["seconds"] for each in state["rounds"]]


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
    else:
        with tempfile.TemporaryDirectory(prefix="fedvit-simulate-") as folder:
            yield Path(folder)


def _base(folder: Path, width: int) -> dict[str, bytes]:
    """The release that everyone begins with and the key that signed it, made in `folder` on first use; as files."""
    if not (folder / "base").exists():
        key = Ed25519PrivateKey.generate()
        save_public_key(key.public_key(), folder / "keys" / "shipped.pub")
        write_linear_release(folder / "base", key, width)
    paths = [path for name in ("base", "keys") for path in (folder / name).iterdir()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _enrolled(cloud: LocalCloud, region: str) -> dict[str, bytes]:
    """A region's identity in the cloud above it, as files."""
    identity = cloud.enrol(region).folder
    paths = [path for path in identity.rglob("*") if path.is_file()]
    return {f"{IDENTITY}/{path.relative_to(identity)}": path.read_bytes() for path in paths}


def _config(region: str, vehicles: int, rounds: int) -> FleetConfig:
    return from_mapping(
        {
            "federation": {
                "run": "simulation",
                "region": region,
                "num_rounds": rounds,
                "vehicles_per_round": vehicles,
                "min_vehicles": vehicles,
                "deadline_s": TIMEOUT_S,
            },
            "communication": _DENSE if region == ABOVE else {"compression_ratio": 0.1},
        },
        FleetConfig,
    )


@click.command()
@click.option("--vehicles", default=10, show_default=True, type=click.IntRange(1, 10_000), help="How many.")
@click.option("--rounds", default=1, show_default=True, type=click.IntRange(1, 1000), help="How many rounds.")
@click.option("--regions", default=1, show_default=True, type=click.IntRange(1, 100), help="Clouds below a global one.")
@click.option("--engine", default="local", show_default=True, type=click.Choice(sorted(ENGINES)), help="Runs them.")
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
    return {
        **results[1000],
        "messages_lost": sum(result["messages_lost"] for result in results.values()),
        **{
            f"{figure}_by_vehicles": {str(vehicles): result[figure] for vehicles, result in results.items()}
            for figure in ("seconds", "seconds_to_roll_out", "memory_mib_per_vehicle")
        },
    }
