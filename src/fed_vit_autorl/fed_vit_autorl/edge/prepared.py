"""Lighter forms of a model: made once, in a process of their own, and kept.

Making one takes seconds of Python, for which a frame in the same process would have to wait.
"""

from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

import onnxruntime
import safetensors.numpy

from fed_vit_autorl.deployment.processes import dying_with_parent

from . import profiles
from .engine_cache import EngineCache, EngineKey, digest_of
from .profiles import PROFILES, Model, Tensors, input_shapes
from .refusal import RuntimeReason, RuntimeRefused

logger = logging.getLogger(__name__)

TIMEOUT_S = 300.0
GRAPH, WEIGHTS, SAMPLES, MADE = "graph.onnx", "weights.safetensors", "samples.safetensors", "made.onnx"


def prepared(graph: bytes, weights: Tensors, samples: Tensors, profile: str, cache: EngineCache) -> Model:
    """What `PROFILES[profile].make` makes of a model, from `cache` where it has been made before. Raises
    RuntimeRefused(profile_not_made).
    """
    if PROFILES[profile].instant:
        return PROFILES[profile].make(graph, weights, samples)
    key = EngineKey(
        graph=_digest(graph),
        weights=digest_of(weights),
        builder=f"onnxruntime {onnxruntime.__version__}, {_digest(Path(profiles.__file__).read_bytes())}",
        device="cpu",
        precision=profile,
        shapes=input_shapes(graph),
        calibration=digest_of(samples),
    )
    made = cache.get(key)
    if made is None:
        try:
            made = _made_apart(graph, weights, samples, profile)
        except OSError as error:
            raise RuntimeRefused(RuntimeReason.PROFILE_NOT_MADE, f"{profile}: {error}") from error
        try:
            cache.put(key, made)
        except OSError as error:
            logger.warning("%s is made anew at every start: %s", profile, error)
    return made, {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _made_apart(graph: bytes, weights: Tensors, samples: Tensors, profile: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="fedvit-profile-") as name:
        folder = Path(name)
        (folder / GRAPH).write_bytes(graph)
        safetensors.numpy.save_file(dict(weights), folder / WEIGHTS)
        safetensors.numpy.save_file(dict(samples), folder / SAMPLES)
        command = ["nice", "-n", "10", sys.executable, "-m", "fed_vit_autorl.edge.prepared", name, profile]
        try:
            ended = subprocess.run(
                dying_with_parent(command), capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S
            )
        except subprocess.TimeoutExpired as error:
            detail = f"{profile} took longer than {TIMEOUT_S:.0f} s"
            raise RuntimeRefused(RuntimeReason.PROFILE_NOT_MADE, detail) from error
        if ended.returncode:
            last = ended.stderr.strip().rpartition("\n")[2] or f"its maker ended with {ended.returncode}"
            raise RuntimeRefused(RuntimeReason.PROFILE_NOT_MADE, f"{profile}: {last}")
        return (folder / MADE).read_bytes()


def _make(folder: Path, profile: str) -> None:
    weights = safetensors.numpy.load_file(folder / WEIGHTS)
    samples = safetensors.numpy.load_file(folder / SAMPLES)
    made, _ = PROFILES[profile].make((folder / GRAPH).read_bytes(), weights, samples)
    (folder / MADE).write_bytes(made)


if __name__ == "__main__":
    _make(Path(sys.argv[1]), sys.argv[2])
