"""`fedvit engine build`: builds TensorRT engines before the drive, and keeps only those that see what they should."""

from __future__ import annotations

from pathlib import Path

import click

from fed_vit_autorl.cli.output import CommandError, emit, json_option
from fed_vit_autorl.deployment import release
from fed_vit_autorl.deployment.release import ReleaseRefused
from fed_vit_autorl.evaluation.released import release_options, verified

from .engine_cache import EngineCache
from .profiles import PROFILES
from .refusal import RuntimeRefused
from .runtime import as_floats, check_golden, check_weights


@click.group()
def engine() -> None:
    """Engines of a GPU's own runtime."""


@engine.command()
@release_options
@click.option("--name", default="perception", show_default=True, help="Which model of the release.")
@click.option("--profile", type=click.Choice(list(PROFILES)), default="half", show_default=True)
@click.option("--cache", type=click.Path(path_type=Path), help="Folder of engines; nodes read the default one.")
@json_option
def build(model: Path, trusted: tuple[Path, ...], name: str, profile: str, cache: Path | None, as_json: bool) -> None:
    """Build the TensorRT engine of a release for this machine's GPU.

    The engine is run on the release's golden batch before it is kept: half precision is known to ruin a transformer
    without a word (NVIDIA/TensorRT#2709).

    \b
    Examples:
      fedvit engine build --model releases/base --profile half
    """
    from . import native_tensorrt  # imports PyTorch

    manifest = verified(model, trusted)
    try:
        graph = release.read_file(model, manifest, f"{name}.onnx")
        weights = release.read_weights(model, manifest, name)
        golden = release.unpack_golden(release.read_file(model, manifest, release.GOLDEN), name)
        check_weights(graph, weights)
        graph, weights = PROFILES[profile].make(graph, weights, as_floats(golden[0]))
        key = native_tensorrt.engine_key(graph, weights, profile)
        plan = native_tensorrt.build_engine(graph, weights)
        runtime = native_tensorrt.TensorRtRuntime(plan)
        check_golden(runtime, *golden, PROFILES[profile].tolerance)
        runtime.close()
    except (ReleaseRefused, RuntimeRefused) as error:
        raise CommandError(str(error)) from error
    EngineCache(cache).put(key, plan)
    emit({"engine": key.digest, "bytes": len(plan), "profile": profile}, as_json)
