"""A candidate release: the graphs of a base release with new weights, its golden outputs recomputed. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import safetensors.numpy
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fed_vit_autorl.edge import runtime

from . import release
from .release import Manifest, Reason, ReleaseRefused


def models_of(manifest: Manifest) -> list[str]:
    """Names of the models a release holds, from its `<model>.onnx` files."""
    return sorted(name.removesuffix(".onnx") for name in manifest.files if name.endswith(".onnx"))


def make_candidate(
    base_folder: Path,
    base: Manifest,
    folder: Path,
    weights: Mapping[str, Mapping[str, np.ndarray]],
    key: Ed25519PrivateKey,
    *,
    version: int,
    round: int = 0,
    metrics: Mapping[str, float] | None = None,
    configuration: str = "",
    beside: Mapping[str, bytes] = MappingProxyType({}),
) -> Manifest:
    """Write a signed release at `folder`: the verified `base` with `weights` {model: {name: tensor}} in place of its
    own.

    Weights are stored as float32; files `beside` them are added, or replace the base's. Models not in `weights` are
    taken over as they are; tensors not in `weights[model]` keep the base's values.
    Raises ReleaseRefused: bad_weights for an unknown name, another shape or a non-finite value; version_not_newer.
    """
    if version <= base.version:
        raise ReleaseRefused(Reason.VERSION_NOT_NEWER, f"{version} must follow {base.version}")
    if unknown := weights.keys() - set(models_of(base)):
        raise ReleaseRefused(Reason.BAD_WEIGHTS, f"the base has no model {sorted(unknown)}")
    files: dict[str, bytes | Path] = {name: release.read_file(base_folder, base, name) for name in base.files}
    golden: dict[str, tuple] = {}
    for model in models_of(base):
        inputs, outputs = release.unpack_golden(files[release.GOLDEN], model)
        if model in weights:
            merged = merge(release.decode_weights(files[f"{model}.safetensors"]), weights[model])
            engine = runtime.create(files[f"{model}.onnx"], merged)
            outputs = runtime.golden_outputs(engine, inputs)
            engine.close()
            files[f"{model}.safetensors"] = safetensors.numpy.save(merged)
        golden[model] = inputs, outputs
    files[release.GOLDEN] = release.pack_golden(golden)
    files |= beside
    return release.write_release(
        folder,
        files,
        key,
        version=version,
        parent=base.digest,
        round=round,
        architecture=base.architecture,
        metrics=metrics,
        configuration=configuration or base.configuration,
    )


def other_models(folder: Path, manifest: Manifest, replaced: str) -> tuple[dict[str, bytes], dict[str, tuple]]:
    """(files, golden batches by model) of a verified release without the model `replaced` and its papers."""
    golden = release.read_file(folder, manifest, release.GOLDEN)
    kept = [model for model in models_of(manifest) if model != replaced]
    files = {f"{model}.{kind}" for model in kept for kind in ("onnx", "safetensors")}
    return (
        {name: release.read_file(folder, manifest, name) for name in sorted(files)},
        {model: release.unpack_golden(golden, model) for model in kept},
    )


def merge(base: Mapping[str, np.ndarray], changed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`base` with the tensors of `changed`, as contiguous arrays of the base's types. Raises
    ReleaseRefused(bad_weights)."""
    for name, tensor in changed.items():
        if name not in base or base[name].shape != np.shape(tensor):
            raise ReleaseRefused(Reason.BAD_WEIGHTS, f"{name}: not a tensor of the base release, or of another shape")
        if not np.isfinite(tensor).all():
            raise ReleaseRefused(Reason.BAD_WEIGHTS, f"{name} is not finite")
    return {name: np.ascontiguousarray(changed.get(name, tensor), dtype=tensor.dtype) for name, tensor in base.items()}
