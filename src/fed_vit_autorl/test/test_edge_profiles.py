"""Profiles: lighter forms of a model pass the golden batch, a broken one is refused, scenes choose among them."""

import sys

import numpy as np
import onnx
import pytest
import safetensors.numpy
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fed_vit_autorl.deployment import release
from fed_vit_autorl.deployment.release import Reason, ReleaseRefused
from fed_vit_autorl.edge import runtime
from fed_vit_autorl.edge.dynamic_quantizer import DynamicQuantizer
from fed_vit_autorl.edge.engine_cache import EngineCache
from fed_vit_autorl.edge.perceiver import Seen
from fed_vit_autorl.edge.prepared import prepared
from fed_vit_autorl.edge.profiles import PROFILES
from fed_vit_autorl.edge.refusal import RuntimeReason, RuntimeRefused
from fed_vit_autorl.edge.runtime import RuntimeOptions
from fed_vit_autorl.models.detection import Detections
from fed_vit_autorl.models.packaging import perception_files
from fed_vit_autorl.models.perception import ViTPerception

KEY = Ed25519PrivateKey.generate()
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    torch.manual_seed(0)
    model = ViTPerception((64, 96), 16, 0, 96, 2, 3, stem="conv")
    for block in model.backbone.vit.blocks:
        torch.nn.init.normal_(block.mlp.fc2.weight, std=0.1)  # a network that does something
    files, golden = perception_files(model, np.random.default_rng(0).integers(0, 255, (2, 64, 96, 3), np.uint8))
    files[release.GOLDEN] = release.pack_golden({"perception": golden})
    folder = tmp_path_factory.mktemp("release") / "base"
    return folder, release.write_release(folder, files, KEY, version=1, architecture={"perception": model.architecture})


@pytest.mark.parametrize("name", PROFILES)
def test_each_profile_takes_float32_and_stays_near_the_golden_outputs(base, name, tmp_path):
    loaded = runtime.load(*base, options=RuntimeOptions(cache=tmp_path), profile=name)
    image = np.random.default_rng(1).random((1, 3, 64, 96), np.float32)
    full = runtime.load(*base).run({"image": image})
    outputs = loaded.run({"image": image})
    assert all(array.dtype == np.float32 for array in outputs.values())
    assert runtime.golden_error(outputs, full) <= PROFILES[name].tolerance


def test_quantised_models_are_smaller(base):
    graph = release.read_file(*base, "perception.onnx")
    weights = release.read_weights(*base, "perception")
    size = {name: len(PROFILES[name].make(graph, weights, {})[0]) for name in ("int8", "int4")}
    dense = sum(tensor.nbytes for tensor in weights.values())
    assert size["int4"] < size["int8"] < 0.6 * dense


def test_static_quantisation_needs_samples(base):
    graph, weights = release.read_file(*base, "perception.onnx"), release.read_weights(*base, "perception")
    with pytest.raises(ValueError, match="samples"):
        PROFILES["int8_static"].make(graph, weights, {})


def test_static_quantisation_is_around_zero_as_tensorrt_wants_it(base):
    """NVIDIA's developer guide: explicit quantisation is symmetric, INT8 with zero points of 0."""
    graph, weights = release.read_file(*base, "perception.onnx"), release.read_weights(*base, "perception")
    samples = {"image": np.random.default_rng(2).random((2, 3, 64, 96), np.float32)}
    made = onnx.load_from_string(PROFILES["int8_static"].make(graph, weights, samples)[0]).graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in made.initializer}
    zeros = [constants[node.input[2]] for node in made.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert zeros
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)


def test_a_lighter_form_is_made_once_and_kept(base, tmp_path, monkeypatch):
    graph, weights = release.read_file(*base, "perception.onnx"), release.read_weights(*base, "perception")
    cache = EngineCache(tmp_path)
    made = prepared(graph, weights, {}, "int8", cache)
    assert made == PROFILES["int8"].make(graph, weights, {})
    monkeypatch.setattr(sys, "executable", "/nowhere/python")  # nothing more can be made
    assert prepared(graph, weights, {}, "int8", cache) == made
    with pytest.raises(RuntimeRefused, match="profile_not_made"):
        prepared(graph, {name: 2 * tensor for name, tensor in weights.items()}, {}, "int8", cache)


def test_a_form_that_cannot_be_made_is_refused_with_the_reason(base, tmp_path):
    graph, weights = release.read_file(*base, "perception.onnx"), release.read_weights(*base, "perception")
    with pytest.raises(RuntimeRefused, match=r"profile_not_made.*needs samples"):
        prepared(graph, weights, {}, "int8_static", EngineCache(tmp_path))


def test_a_form_that_cannot_be_kept_is_used_all_the_same(base, tmp_path):
    graph, weights = release.read_file(*base, "perception.onnx"), release.read_weights(*base, "perception")
    (tmp_path / "engines").write_bytes(b"a file where the folder should be")
    made = prepared(graph, weights, {}, "int8", EngineCache(tmp_path / "engines"))
    assert made == PROFILES["int8"].make(graph, weights, {})


def overflowing(base, folder):
    """The same model with the last block's hidden layer scaled up and down again: exact in float32, beyond half's
    65504."""
    files = {name: release.read_file(*base, name) for name in base[1].files}
    weights = release.decode_weights(files["perception.safetensors"])
    prefix = "backbone.vit.blocks.1."
    for name in ("norm1.weight", "norm1.bias"):
        weights[prefix + name] = weights[prefix + name] * 1e5
    qkv = weights[prefix + "attn.qkv.weight"]
    weights[prefix + "attn.qkv.weight"] = qkv / 1e5
    files["perception.safetensors"] = safetensors.numpy.save(weights)
    return folder, release.write_release(folder, files, KEY, version=2, architecture=base[1].architecture)


def test_a_half_precision_graph_that_overflows_is_refused_and_the_full_one_is_not(base, tmp_path):
    broken = overflowing(base, tmp_path / "overflowing")
    runtime.load(*broken).close()
    with pytest.raises(ReleaseRefused) as caught:
        runtime.load(*broken, options=RuntimeOptions(cache=tmp_path), profile="half")
    assert caught.value.reason == Reason.GOLDEN_MISMATCH


def test_an_unknown_profile_is_refused_with_the_known_ones(base):
    with pytest.raises(RuntimeRefused, match="full, int8") as caught:
        runtime.load(*base, profile="int3")
    assert caught.value.reason == RuntimeReason.UNKNOWN_PROFILE


def test_providers_that_are_not_here_are_refused_not_replaced(base):
    graph = release.read_file(*base, "perception.onnx")
    for provider, reason in (("cuda", RuntimeReason.PROVIDER_UNAVAILABLE), ("abacus", RuntimeReason.UNKNOWN_PROVIDER)):
        with pytest.raises(RuntimeRefused) as caught:
            runtime.create(graph, release.read_weights(*base, "perception"), provider)
        assert caught.value.reason == reason


def test_inputs_of_another_shape_type_or_name_are_refused(base):
    loaded = runtime.load(*base)
    good = np.zeros((1, 3, 64, 96), np.float32)
    for inputs in ({"picture": good}, {"image": good[:, :1]}, {"image": good.astype(np.float64)}, {}):
        with pytest.raises(RuntimeRefused) as caught:
            loaded.run(inputs)
        assert caught.value.reason == RuntimeReason.BAD_INPUTS


def seen(objects, height=0.0, confidence=1.0):
    boxes = np.tile(np.array([[0, 0, 10, height]], np.float32), (objects, 1))
    found = Detections(boxes, np.ones(objects, np.float32), np.zeros(objects, np.int64))
    return Seen(found, {}, np.zeros(0), np.zeros(0), confidence)


def test_complexity_grows_with_crowd_nearness_and_doubt():
    measure = DynamicQuantizer().estimate_complexity
    assert measure(seen(0), 100) == 0
    assert measure(seen(5), 100) == pytest.approx(0.25)
    assert measure(seen(10, 50.0, 0.0), 100) == pytest.approx(1.0)


def test_bits_follow_complexity_without_flicker():
    quantizer = DynamicQuantizer()
    assert [quantizer.choose(c) for c in (0.9, 0.69, 0.66, 0.64)] == ["full", "full", "full", "int8"]
    assert [quantizer.choose(c) for c in (0.29, 0.24, 0.31)] == ["int8", "int4", "int8"]
    assert [quantizer.choose(c) for c in (0.1, 0.9)] == ["int4", "full"]


def test_onnx_graphs_carry_no_weights(base):
    proto = onnx.ModelProto.FromString(release.read_file(*base, "perception.onnx"))
    inside = sum(len(t.raw_data) for t in proto.graph.initializer if t.data_location != onnx.TensorProto.EXTERNAL)
    assert inside < 10_000
