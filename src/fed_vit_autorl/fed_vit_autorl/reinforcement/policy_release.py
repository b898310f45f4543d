"""A trained policy as the files of a release: put beside the perception model whose features it takes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fed_vit_autorl.deployment import release
from fed_vit_autorl.deployment.candidate import models_of
from fed_vit_autorl.deployment.release import Manifest
from fed_vit_autorl.edge import runtime
from fed_vit_autorl.models.export import export_graph, weights_of
from fed_vit_autorl.reinforcement.policy import VisionPolicy, example_inputs
from fed_vit_autorl.reinforcement.policy_io import OUTPUTS
from fed_vit_autorl.reinforcement.policy_runtime import MODEL

CARD_TITLE = "# Driving policy\n"
CARD_TEXT = """
A small network (residuals on model-based proposals) that takes perception's features and objects, the route, the
lights and the vehicle's motion, and gives steering, acceleration and a path. Cloned from a privileged expert in the
embedded world, on towns with seeds below 1000.

**Made by** `fedvit train policy`. **Use** it only behind the safety shield; it has never driven a real vehicle.

"""


def write_with_policy(
    base_folder: Path,
    base: Manifest,
    folder: Path,
    policy: VisionPolicy,
    golden_inputs: Mapping[str, np.ndarray],
    key: Ed25519PrivateKey,
    metrics: Mapping[str, float],
    version: int | None = None,
) -> Manifest:
    """Sign a release at `folder`: the verified `base` with `policy` in it, by default one version after the base's.

    `golden_inputs`: the policy's inputs, rows on the first axis, from a real drive. Metrics are added to the base's.
    """
    files: dict[str, bytes | Path] = {name: release.read_file(base_folder, base, name) for name in base.files}
    golden = {model: release.unpack_golden(files[release.GOLDEN], model) for model in models_of(base) if model != MODEL}
    graph, weights = _graph(policy), weights_of(policy)
    running = runtime.create(graph, weights)
    golden[MODEL] = golden_inputs, runtime.golden_outputs(running, golden_inputs)
    running.close()
    files |= {f"{MODEL}.onnx": graph, f"{MODEL}.safetensors": safetensors.numpy.save(weights)}
    files[release.GOLDEN] = release.pack_golden(golden)
    files[release.CARD] = _card(files.get(release.CARD, b""), metrics)
    return release.write_release(
        folder,
        files,
        key,
        version=base.version + 1 if version is None else version,
        parent=base.digest,
        architecture={**base.architecture, MODEL: {"feature_width": policy.feature_width, "width": policy.width}},
        metrics={**base.metrics, **{name: float(value) for name, value in metrics.items()}},
        configuration=base.configuration,
    )


def engine(policy: VisionPolicy) -> runtime.ModelRuntime:
    """A policy that is in no release yet, as it will run in one."""
    return runtime.create(_graph(policy), weights_of(policy))


def _graph(policy: VisionPolicy) -> bytes:
    return export_graph(policy, example_inputs(policy.feature_width), OUTPUTS, f"{MODEL}.safetensors")


def _card(card: bytes, metrics: Mapping[str, float]) -> bytes:
    """The base's model card with the policy's part at its end."""
    before = card.decode().split(CARD_TITLE)[0].rstrip()
    figures = "".join(f"| {name} | {value:.4g} |\n" for name, value in sorted(metrics.items()))
    return f"{before}\n\n{CARD_TITLE}{CARD_TEXT}| figure | |\n|---|---|\n{figures}".encode()


def build(architecture: Mapping, weights: Mapping[str, np.ndarray]) -> VisionPolicy:
    """The policy that a manifest's `architecture["policy"]` describes, with `weights`.

    Raises TypeError for an architecture that can't be built, RuntimeError for weights that don't fit it.
    """
    policy = VisionPolicy(**architecture)
    policy.load_state_dict({name: torch.from_numpy(np.array(tensor)) for name, tensor in weights.items()})
    return policy.eval()
