"""`fedvit bench vit`: every profile of the shipped model beside the bare timm backbone, all in ONNX Runtime."""

from __future__ import annotations

import copy
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress as Bar
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from fed_vit_autorl.deployment import release
from fed_vit_autorl.edge import runtime
from fed_vit_autorl.edge.profiles import PROFILES
from fed_vit_autorl.edge.runtime import ModelRuntime, RuntimeOptions
from fed_vit_autorl.evaluation.held_out import held_out_samples
from fed_vit_autorl.evaluation.perceive import perceive_with
from fed_vit_autorl.evaluation.perception import PerceptionEvaluator
from fed_vit_autorl.evaluation.released import TRUSTED, verified

from .export import export_graph, weights_of
from .packaging import build
from .perception import ViTPerception
from .pruning import pruned_copy

BASE, PRUNED = Path("releases/base"), Path("releases/pruned")
SIZES = ((96, 160), (192, 320))
THREADS = (1, 2)
QUANTISED = ("int8", "int8_static", "int4")
MERGED_SHARE = 1 / 12
"""Of the tokens, merged after each block."""
WARM_UP, RUNS = 5, 100
UNTUNED_RATIO = 0.6
"""Without a pruned release only its speed is measured, on weights that were cut and not trained again."""

Model = tuple[bytes, dict[str, np.ndarray]]


class Bare(nn.Module):
    """The timm ViT of a model's sizes, alone."""

    def __init__(self, size: tuple[int, int], architecture: dict) -> None:
        super().__init__()
        sizes = {name: architecture[name] for name in ("patch_size", "embed_dim", "depth", "num_heads")}
        self.vit = VisionTransformer(size, **sizes, num_classes=0, global_pool="", fc_norm=False)

    def forward(self, image: Tensor) -> Tensor:
        """Tokens (B, N, D)."""
        return self.vit.forward_features(image)


def bench_vit() -> dict:
    """Latencies of all heads together per profile, size and threads, the heads' cost, and what pruning costs.

    `profiles` {name: {p50_ms, p99_ms}}: name is form_height×width_threads. The ratios are of medians at 192×320 on one
    thread; the models take turns, run by run, so that a busy machine slows them alike.
    """
    whole = _load(BASE)
    fine_tuned = PRUNED.is_dir()
    pruned = _load(PRUNED) if fine_tuned else pruned_copy(whole, UNTUNED_RATIO)
    profiles: dict[str, dict[str, float]] = {}
    for size in SIZES:
        forms = _forms(whole, pruned, size)
        for threads in THREADS:
            for name, found in _measure(forms, size, threads).items():
                profiles[f"{name}_{size[0]}x{size[1]}_{threads}t"] = found
    p50 = {name: profiles[f"{name}_192x320_1t"]["p50_ms"] for name in ("bare", "full", "int8", "merged", "pruned")}
    map50 = _map50({"full": whole, "merged": _merging(whole)} | ({"pruned": pruned} if fine_tuned else {}))
    return {
        "profiles": profiles,
        "heads_overhead": p50["full"] / p50["bare"] - 1,
        "int8_ratio": p50["int8"] / p50["full"],
        "merged_speedup": p50["full"] / p50["merged"],
        "merged_map50_loss_points": 100 * (map50["full"] - map50["merged"]),
        "pruned_speedup": p50["full"] / p50["pruned"],
        "pruned_map50_loss_points": 100 * (map50["full"] - map50["pruned"]) if fine_tuned else None,
        "map50": map50,
    }


def _load(folder: Path) -> ViTPerception:
    manifest = verified(folder, TRUSTED)
    return build(manifest.architecture["perception"], release.read_weights(folder, manifest, "perception")).eval()


def _merging(model: ViTPerception) -> ViTPerception:
    """The same network, merging tokens as it goes; not trained again."""
    height, width = (side // model.backbone.patch_size for side in model.img_size)
    count = round(MERGED_SHARE * height * width)
    return build({**model.architecture, "merged_tokens": count}, weights_of(model)).eval()


def _exported(model: nn.Module, size: tuple[int, int], outputs: tuple[str, ...]) -> Model:
    return export_graph(model, {"image": torch.zeros(1, 3, *size)}, outputs, "weights.safetensors"), weights_of(model)


def _noise(size: tuple[int, int]) -> dict[str, np.ndarray]:
    return {"image": np.random.default_rng(0).random((1, 3, *size), np.float32)}


def _forms(whole: ViTPerception, pruned: ViTPerception, size: tuple[int, int]) -> dict[str, Model]:
    whole, pruned = copy.deepcopy(whole), copy.deepcopy(pruned)  # resampled positions don't come back
    for model in (whole, pruned):
        model.set_input_size(size)
    full = _exported(whole, size, whole.outputs)
    forms = {"bare": _exported(Bare(size, whole.architecture), size, ("tokens",)), "full": full}
    inputs = _noise(size)
    forms |= {name: PROFILES[name].make(*full, inputs) for name in QUANTISED}
    forms["merged"] = _exported(_merging(whole), size, whole.outputs)
    forms["pruned"] = _exported(pruned, size, pruned.outputs)
    forms["pruned_int8"] = PROFILES["int8"].make(*forms["pruned"], inputs)
    return forms


def _measure(forms: dict[str, Model], size: tuple[int, int], threads: int) -> dict[str, dict[str, float]]:
    engines = {name: runtime.create(*form, options=RuntimeOptions(threads=threads)) for name, form in forms.items()}
    inputs = _noise(size)
    times: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(WARM_UP + RUNS):
        for name, engine in engines.items():
            started = time.perf_counter()
            engine.run(inputs)
            times[name].append(1e3 * (time.perf_counter() - started))
    for engine in engines.values():
        engine.close()
    return {
        name: dict(zip(("p50_ms", "p99_ms"), np.percentile(values[WARM_UP:], (50, 99)).tolist(), strict=True))
        for name, values in times.items()
    }


def _map50(models: dict[str, ViTPerception]) -> dict[str, float]:
    """mAP50 at noon in towns that no training saw."""
    with Bar(console=Console(stderr=True)) as bar:
        samples = [sample for part in held_out_samples(2, bar, ("noon",)) for sample in part]
    found = {}
    for name, model in models.items():
        engine: ModelRuntime = runtime.create(*_exported(model, model.img_size, model.outputs))
        evaluator, perceive = PerceptionEvaluator(), perceive_with(engine)
        for sample in samples:
            evaluator.add(sample, perceive(sample))
        found[name] = evaluator.result()["map50"]
        engine.close()
    return found
