"""Releases: what is signed is what is loaded, everything else is refused with its reason."""

import numpy as np
import onnx
import pytest
import safetensors.numpy
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fed_vit_autorl.deployment import candidate, keys, release
from fed_vit_autorl.deployment.release import Reason, ReleaseRefused
from fed_vit_autorl.edge import runtime

KEY = Ed25519PrivateKey.generate()
WEIGHTS = {"layer.weight": np.eye(3, dtype=np.float32), "layer.bias": np.array([1, 2, 3], np.float32)}


def linear_graph() -> bytes:
    """y = x @ weight + bias with both tensors left to the safetensors file."""
    initializers = []
    for name, array in WEIGHTS.items():
        tensor = onnx.helper.make_tensor(name, onnx.TensorProto.FLOAT, array.shape, array.tobytes(), raw=True)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="linear.safetensors")
        initializers.append(tensor)
    make_io = onnx.helper.make_tensor_value_info
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "layer.weight"], ["p"]),
        onnx.helper.make_node("Add", ["p", "layer.bias"], ["y"]),
    ]
    graph = onnx.helper.make_graph(nodes, "linear", [make_io("x", 1, (1, 3))], [make_io("y", 1, (1, 3))], initializers)
    return onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10
    ).SerializeToString()


@pytest.fixture
def base(tmp_path):
    inputs = {"x": np.array([[1, 0, 0], [0, 2, 0]], np.float32)}
    outputs = {"y": inputs["x"] + WEIGHTS["layer.bias"]}
    files = {
        "linear.onnx": linear_graph(),
        "linear.safetensors": safetensors.numpy.save(WEIGHTS),
        release.GOLDEN: release.pack_golden({"linear": (inputs, outputs)}),
        release.CARD: b"# Linear\n",
    }
    folder = tmp_path / "base"
    return folder, release.write_release(folder, files, KEY, version=1, architecture={"linear": {"width": 3}})


def refusal(call, *arguments, **options) -> str:
    with pytest.raises(ReleaseRefused) as caught:
        call(*arguments, **options)
    return caught.value.reason


def test_a_signed_release_loads_and_runs(base):
    folder, written = base
    manifest = release.verify(folder, [KEY.public_key()])
    assert manifest == written
    assert manifest.digest == written.digest
    engine = runtime.load(folder, manifest, "linear", expected_inputs={"x": (1, 3)})
    np.testing.assert_array_equal(engine.run({"x": np.ones((1, 3), np.float32)})["y"], [[2, 3, 4]])


def test_a_stranger_or_a_changed_manifest_is_refused(base):
    folder, _ = base
    assert refusal(release.verify, folder, [Ed25519PrivateKey.generate().public_key()]) == Reason.BAD_SIGNATURE
    assert refusal(release.verify, folder, []) == Reason.BAD_SIGNATURE
    path = folder / release.MANIFEST
    path.write_bytes(path.read_bytes().replace(b'"version":1', b'"version":9'))
    assert refusal(release.verify, folder, [KEY.public_key()]) == Reason.BAD_SIGNATURE


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), Reason.MISSING_FILE),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), Reason.BAD_DIGEST),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\xff"), Reason.BAD_DIGEST),
        (
            lambda path: (path.rename(path.with_suffix(".moved")), path.symlink_to(path.with_suffix(".moved"))),
            Reason.MISSING_FILE,
        ),
    ],
)
def test_damaged_files_are_refused(base, damage, reason):
    folder, manifest = base
    damage(folder / "linear.safetensors")
    assert refusal(release.verify, folder, [KEY.public_key()]) == reason
    assert refusal(runtime.load, folder, manifest, "linear") == reason


def test_reads_are_bounded(base):
    folder, _ = base
    assert refusal(release.verify, folder, [KEY.public_key()], max_file_bytes=100) == Reason.OVERSIZED_FILE
    (folder / release.MANIFEST).write_bytes(b" " * (release.MAX_MANIFEST_BYTES + 1))
    assert refusal(release.verify, folder, [KEY.public_key()]) == Reason.OVERSIZED_FILE


@pytest.mark.parametrize("encoded", [b"[]", b'{"format":1}', b"\xff", b'{"version": 1}'])
def test_a_signed_manifest_that_is_none_is_refused(base, encoded):
    folder, _ = base
    (folder / release.MANIFEST).write_bytes(encoded)
    (folder / release.SIGNATURE).write_bytes(KEY.sign(b"fedvit-release-v1\n" + encoded))
    assert refusal(release.verify, folder, [KEY.public_key()]) == Reason.BAD_MANIFEST


def test_a_manifest_cannot_name_files_elsewhere(base, tmp_path):
    with pytest.raises(ValueError, match="can't hold"):
        release.write_release(tmp_path / "evil", {"../evil.onnx": b""}, KEY, version=1, architecture={})
    assert not (tmp_path / "evil").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base"]
    folder, manifest = base
    encoded = release.encode_manifest(manifest).replace(b'"linear.onnx"', b'"../linear.onnx"')
    (folder / release.MANIFEST).write_bytes(encoded)
    (folder / release.SIGNATURE).write_bytes(KEY.sign(b"fedvit-release-v1\n" + encoded))
    assert refusal(release.verify, folder, [KEY.public_key()]) == Reason.BAD_MANIFEST


def test_versions_only_grow(base):
    _, manifest = base
    release.require_newer(manifest, 0)
    assert refusal(release.require_newer, manifest, 1) == Reason.VERSION_NOT_NEWER


def test_a_candidate_has_new_weights_old_graph_and_its_own_golden_outputs(base, tmp_path):
    folder, manifest = base
    made = candidate.make_candidate(
        folder, manifest, tmp_path / "next", {"linear": {"layer.bias": np.zeros(3)}}, KEY, version=2, round=1
    )
    verified = release.verify(tmp_path / "next", [KEY.public_key()])
    assert verified == made
    assert verified.parent == manifest.digest
    assert verified.files["linear.onnx"] == manifest.files["linear.onnx"]
    engine = runtime.load(tmp_path / "next", verified, "linear")
    np.testing.assert_array_equal(engine.run({"x": np.ones((1, 3), np.float32)})["y"], [[1, 1, 1]])


@pytest.mark.parametrize(
    "weights",
    [
        {"linear": {"layer.other": np.zeros(3)}},
        {"linear": {"layer.bias": np.zeros(4)}},
        {"linear": {"layer.bias": np.array([0, np.nan, 0])}},
        {"other": {}},
    ],
)
def test_weights_that_do_not_fit_make_no_candidate(base, tmp_path, weights):
    folder, manifest = base
    assert (
        refusal(candidate.make_candidate, folder, manifest, tmp_path / "next", weights, KEY, version=2)
        == Reason.BAD_WEIGHTS
    )
    assert not (tmp_path / "next").exists()


def rewritten(folder, manifest, target, **files):
    """A release signed by the right key whose files were exchanged: a mistake of the signer."""
    content = {name: release.read_file(folder, manifest, name) for name in manifest.files}
    content.update({name.replace("__", "."): value for name, value in files.items()})
    return target, release.write_release(target, content, KEY, version=2, architecture=manifest.architecture)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (
            {"linear__safetensors": safetensors.numpy.save(WEIGHTS | {"layer.bias": np.array([1, 2, 4], np.float32)})},
            Reason.GOLDEN_MISMATCH,
        ),
        (
            {
                "linear__safetensors": safetensors.numpy.save(
                    WEIGHTS | {"layer.bias": np.array([1, 2, np.inf], np.float32)}
                )
            },
            Reason.BAD_WEIGHTS,
        ),
        (
            {"linear__safetensors": safetensors.numpy.save({"layer.weight": WEIGHTS["layer.weight"]})},
            Reason.BAD_WEIGHTS,
        ),
        ({"linear__safetensors": b"\xff" * 64}, Reason.BAD_WEIGHTS),
        ({"linear__onnx": b"nonsense"}, Reason.BAD_GRAPH),
        ({"golden__safetensors": safetensors.numpy.save({})}, Reason.GOLDEN_MISMATCH),
        (
            {
                "golden__safetensors": release.pack_golden(
                    {"linear": ({"x": np.ones((1, 4), np.float32)}, {"y": np.ones((1, 3), np.float32)})}
                )
            },
            Reason.BAD_INPUTS,
        ),
    ],
)
def test_a_release_that_contradicts_itself_does_not_load(base, tmp_path, files, reason):
    folder, manifest = rewritten(*base, tmp_path / "broken", **files)
    release.verify(folder, [KEY.public_key()])
    assert refusal(runtime.load, folder, manifest, "linear") == reason


def test_a_model_with_other_inputs_than_the_caller_feeds_is_refused(base):
    assert refusal(runtime.load, *base, "linear", expected_inputs={"image": (1, 3, 8, 8)}) == Reason.BAD_INPUTS


def test_half_precision_weights_are_widened(base, tmp_path):
    half = {name: array.astype(np.float16) for name, array in WEIGHTS.items()}
    folder, manifest = rewritten(*base, tmp_path / "half", linear__safetensors=safetensors.numpy.save(half))
    assert release.read_weights(folder, manifest, "linear")["layer.bias"].dtype == np.float32
    runtime.load(folder, manifest, "linear").close()


def test_signing_key_is_private_and_its_public_half_is_found(tmp_path):
    key = keys.load_or_create_signing_key(tmp_path / "release.key")
    assert (tmp_path / "release.key").stat().st_mode & 0o077 == 0
    assert keys.load_or_create_signing_key(tmp_path / "release.key").public_key() == key.public_key()
    assert keys.load_public_keys(tmp_path) == [key.public_key()]
    with pytest.raises(ValueError, match="PEM"):
        keys.load_public_keys(tmp_path / "release.key")
