"""Engines: cached under all that decides what they are, never built in passing; PyTorch as another runtime."""

import errno
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fed_vit_autorl.cli.output import CommandError
from fed_vit_autorl.deployment import keys, release
from fed_vit_autorl.deployment.release import Reason, ReleaseRefused
from fed_vit_autorl.edge import runtime
from fed_vit_autorl.edge.engine_build import engine
from fed_vit_autorl.edge.engine_cache import KEPT, EngineCache, EngineKey, digest_of
from fed_vit_autorl.edge.refusal import RuntimeReason, RuntimeRefused
from fed_vit_autorl.models.packaging import perception_files
from fed_vit_autorl.models.perception import ViTPerception

torch.set_num_threads(1)
KEY = EngineKey("a" * 64, "b" * 64, "tensorrt 10.9", "Orin 8.7", "half", {"image": (1, 3, 192, 320)})
SIGNER = Ed25519PrivateKey.generate()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    torch.manual_seed(0)
    model = ViTPerception((64, 96), 16, 0, 48, 1, 3, stem="conv")
    files, golden = perception_files(model, np.random.default_rng(0).integers(0, 255, (1, 64, 96, 3), np.uint8))
    files[release.GOLDEN] = release.pack_golden({"perception": golden})
    folder = tmp_path_factory.mktemp("release")
    keys.save_public_key(SIGNER.public_key(), folder / "test.pub")
    architecture = {"perception": model.architecture}
    return folder / "base", release.write_release(folder / "base", files, SIGNER, version=1, architecture=architecture)


@pytest.mark.parametrize(
    "change",
    [
        {"graph": "c" * 64},
        {"weights": "c" * 64},
        {"builder": "tensorrt 11.0"},
        {"device": "Thor 11.0"},
        {"precision": "full"},
        {"shapes": {"image": (1, 3, 96, 160)}},
        {"calibration": "d" * 64},
    ],
)
def test_whatever_changes_makes_it_another_engine(tmp_path, change):
    cache = EngineCache(tmp_path / "engines")
    cache.put(KEY, b"engine")
    assert cache.get(KEY) == b"engine"
    assert cache.get(replace(KEY, **change)) is None


def test_a_damaged_engine_counts_as_none(tmp_path):
    cache = EngineCache(tmp_path)
    cache.put(KEY, b"engine")
    [path] = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert cache.get(KEY) is None


def test_engines_on_a_read_only_disk_are_used(tmp_path, monkeypatch):
    cache = EngineCache(tmp_path)
    cache.put(KEY, b"engine")

    def read_only(path):
        raise OSError(errno.EROFS, "read-only file system")

    monkeypatch.setattr(os, "utime", read_only)
    assert cache.get(KEY) == b"engine"


def test_engines_that_nobody_used_for_long_make_room(tmp_path):
    cache = EngineCache(tmp_path)
    names = [replace(KEY, graph=f"{index:064x}") for index in range(KEPT + 1)]
    for age, key in enumerate(names[:-1]):
        cache.put(key, b"engine")
        os.utime(tmp_path / f"{key.digest}.engine", (age, age))
    assert cache.get(names[0]) == b"engine"  # the oldest, used again
    cache.put(names[-1], b"engine")
    assert [index for index, key in enumerate(names) if cache.get(key) is None] == [1]


def test_weights_are_told_apart_by_name_shape_type_and_value():
    tensors = {"w": np.zeros((2, 3), np.float32)}
    others = [{"v": tensors["w"]}, {"w": np.zeros((3, 2), np.float32)}, {"w": np.zeros((2, 3), np.float16)},
              {"w": np.full((2, 3), 1e-9, np.float32)}]  # fmt: skip
    assert len({digest_of(entry) for entry in (tensors, *others)}) == 5
    assert digest_of({"w": np.zeros((2, 3), np.float32)}) == digest_of(tensors)


def test_pytorch_runs_the_release_as_onnx_runtime_does(base):
    image = {"image": np.random.default_rng(1).random((1, 3, 64, 96), np.float32)}
    first, second = runtime.load(*base), runtime.load(*base, provider="torch")
    assert first.input_shapes == second.input_shapes
    expected, got = first.run(image), second.run(image)
    assert expected.keys() == got.keys()
    for name in expected:
        np.testing.assert_allclose(got[name], expected[name], atol=1e-4, rtol=1e-4)
    second.close()


def test_pytorch_without_an_architecture_is_refused(base):
    folder, manifest = base
    bare = runtime.external_initializers(release.read_file(folder, manifest, "perception.onnx"))
    with pytest.raises(ReleaseRefused) as caught:
        runtime.create(b"", {name: np.zeros(shape, np.float32) for name, shape in bare.items()}, "torch")
    assert caught.value.reason == Reason.BAD_MANIFEST


def test_tensorrt_that_is_not_here_is_refused_with_its_reason(base):
    with pytest.raises(RuntimeRefused) as caught:
        runtime.load(*base, provider="native_tensorrt")
    assert caught.value.reason == RuntimeReason.PROVIDER_UNAVAILABLE
    arguments = ["build", "--model", str(base[0]), "--keys", str(base[0].parent), "--profile", "full"]
    result = CliRunner().invoke(engine, arguments)
    assert isinstance(result.exception, CommandError)
    assert "TensorRT" in str(result.exception)
