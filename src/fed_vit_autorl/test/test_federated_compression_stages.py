"""Stages and pipeline: what arrives is what was sent, up to what the stage says it loses; nothing hostile gets in."""

import msgspec
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from fed_vit_autorl.federated.pipeline import Pipeline
from fed_vit_autorl.federated.refusal import ConfigurationReason, ConfigurationRefused, UpdateReason, UpdateRefused
from fed_vit_autorl.federated.stages.index_coding import decode_positions, encode_positions
from fed_vit_autorl.federated.stages.quantise import dequantise_blocks, quantise_blocks
from fed_vit_autorl.federated.stages.sparsify import top_positions
from fed_vit_autorl.federated.update import Header, Layout, Update, UpdateMetadata, pack, unpack

SHAPES = {"a.weight": (40, 30), "b": (7,), "scalar": ()}
LAYOUT = Layout(tuple(sorted(SHAPES)), tuple(SHAPES[name] for name in sorted(SHAPES)))
PIPELINES = [
    [],
    ["clip"],
    ["top_k"],
    ["random_k"],
    ["quantise"],
    [{"quantise": {"bits": 4, "block": 16}}],
    [{"clip": {"norm": 1.0}}, {"top_k": {"ratio": 0.05}}, {"quantise": {"bits": 8}}],
    [{"random_k": {"ratio": 0.3, "seed": 5}}, {"quantise": {"bits": 4}}],
]


def update(seed=0, scale=1.0, round_number=3):
    generator = np.random.default_rng(seed)
    tensors = {name: np.asarray(generator.normal(size=shape) * scale, np.float32) for name, shape in SHAPES.items()}
    return Update(tensors, UpdateMetadata(round_number, 2, "vehicle-1", 10, {"loss": 0.5}))


def flat(update):
    return LAYOUT.flatten(update.tensors)


@pytest.mark.parametrize("specs", PIPELINES, ids=str)
def test_metadata_names_and_shapes_survive(specs):
    pipeline = Pipeline.from_config(specs, LAYOUT)
    arrived = Pipeline.from_config(specs, LAYOUT).decode(pipeline.encode(update()))
    assert arrived.metadata == update().metadata
    assert Layout.of(arrived.tensors) == LAYOUT


def test_no_stage_is_exact():
    pipeline = Pipeline.from_config([], LAYOUT)
    np.testing.assert_array_equal(flat(pipeline.decode(pipeline.encode(update()))), flat(update()))


def test_clip_scales_to_the_norm_and_leaves_short_updates():
    pipeline = Pipeline.from_config([{"clip": {"norm": 2.0}}], LAYOUT)
    long, short = (flat(pipeline.decode(pipeline.encode(update(scale=scale)))) for scale in (1.0, 1e-3))
    assert np.linalg.norm(long) == pytest.approx(2.0, rel=1e-6)
    assert np.dot(long, flat(update())) / 2.0 == pytest.approx(np.linalg.norm(flat(update())), rel=1e-5)
    np.testing.assert_array_equal(short, flat(update(scale=1e-3)))


@given(st.integers(1, 3000), st.integers(0, 2**32), st.booleans())
def test_top_positions_are_the_largest(size, seed, ties):
    values = np.random.default_rng(seed).normal(size=size).astype(np.float32)
    values = np.round(values) if ties else values
    count = max(1, size // 7)
    positions = top_positions(values, count)
    assert (np.diff(positions) > 0).all()
    expected = np.sort(np.abs(values))[-count:]
    np.testing.assert_array_equal(np.sort(np.abs(values[positions])), expected)


def test_top_positions_of_a_large_vector_are_exact():
    values = np.random.default_rng(2).standard_t(2, size=400_000).astype(np.float32)
    expected = np.sort(np.argsort(-np.abs(values), kind="stable")[:4000])
    np.testing.assert_array_equal(top_positions(values, 4000), expected)


@given(st.sets(st.integers(0, 4999)), st.integers(5000, 20000))
def test_positions_survive_coding(positions, size):
    rising = np.array(sorted(positions), np.int64)
    np.testing.assert_array_equal(decode_positions(encode_positions(rising, size), size, rising.size), rising)


def test_positions_cost_about_their_entropy():
    # H(0.01) = 0.0808 bit per parameter: 10,099 bytes for a million; Rice's code is within 5 %.
    generator = np.random.default_rng(0)
    positions = np.sort(generator.choice(1_000_000, 10_000, replace=False))
    assert encode_positions(positions, 1_000_000).size < 10_099 * 1.05


@given(st.binary(max_size=200), st.integers(0, 100), st.integers(100, 5000))
def test_hostile_positions_are_refused_or_valid(data, count, size):
    try:
        positions = decode_positions(np.frombuffer(data, np.uint8), size, count)
    except UpdateRefused:
        return
    assert positions.size == count
    assert (np.diff(positions) > 0).all()
    assert not count or (positions[0] >= 0 and positions[-1] < size)


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), max_size=100), st.sampled_from([4, 8]))
def test_quantisation_is_off_by_at_most_half_a_step(values, bits):
    values = np.array(values, np.float32)
    codes, scales = quantise_blocks(values, bits, 16)
    error = np.abs(dequantise_blocks(codes, scales, 16) - values)
    assert (error <= np.repeat(scales, 16)[: values.size] * 0.5001 + np.finfo(np.float32).tiny * 200).all()
    assert np.abs(codes).max(initial=0) <= 2 ** (bits - 1) - 1


@pytest.mark.parametrize(
    "specs",
    [["top_k"], [{"top_k": {"ratio": 0.05}}, {"quantise": {"bits": 4}}], [{"random_k": {"ratio": 0.2}}]],
    ids=str,
)
def test_error_feedback_sends_everything_in_the_end(specs):
    pipeline = Pipeline.from_config(specs, LAYOUT)
    given_, arrived = np.zeros(LAYOUT.size), np.zeros(LAYOUT.size)
    for round_number in range(30):
        one = update(seed=round_number, round_number=round_number)
        given_ += flat(one)
        arrived += flat(pipeline.decode(pipeline.encode(one)))
    np.testing.assert_allclose(arrived + pipeline.state_dict()["residual"], given_, atol=1e-3)


def test_without_error_feedback_nothing_is_kept():
    pipeline = Pipeline.from_config([{"top_k": {"error_feedback": 0}}], LAYOUT)
    assert pipeline.encode(update()) == pipeline.encode(update())
    assert pipeline.state_dict()["residual"].size == 0


@given(st.integers(0, 100), st.floats(0.125, 1), st.sampled_from(["top_k", "random_k"]))
def test_what_is_left_unsent_counts_for_its_share_in_the_next_update(seed, share, method):
    pipeline = Pipeline.from_config([{method: {"ratio": 0.25, "error_feedback": share}}], LAYOUT)
    sent = pipeline.decode(pipeline.encode(update(seed)))
    left = share * (flat(update(seed)) - flat(sent))
    np.testing.assert_allclose(pipeline.state_dict()["residual"], left, rtol=1e-6, atol=1e-7)
    sent = flat(pipeline.decode(pipeline.encode(update(seed + 1))))
    whole = flat(update(seed + 1)) + left
    np.testing.assert_allclose(sent[sent != 0], whole[sent != 0], rtol=1e-5)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize("stage", ["top_k", "random_k", "quantise"])
def test_a_share_outside_its_range_is_refused(stage, share):
    with pytest.raises(ConfigurationRefused) as refused:
        Pipeline.from_config([{stage: {"error_feedback": share}}], LAYOUT)
    assert refused.value.reason == ConfigurationReason.BAD_VALUE


def test_a_restart_loses_none_of_the_residual():
    specs = [{"top_k": {"ratio": 0.05}}, "quantise"]
    straight, before, after = (Pipeline.from_config(specs, LAYOUT) for _ in range(3))
    straight.encode(update(1))
    before.encode(update(1))
    after.load_state_dict(safetensors.numpy.load(safetensors.numpy.save(before.state_dict())))
    assert after.encode(update(2)) == straight.encode(update(2))


def test_a_residual_of_another_model_is_refused():
    with pytest.raises(UpdateRefused) as refused:
        Pipeline.from_config(["top_k"], LAYOUT).load_state_dict({"residual": np.zeros(3, np.float32)})
    assert refused.value.reason == UpdateReason.WRONG_LAYOUT


def test_random_k_of_one_round_is_the_same_for_all_vehicles_so_sums_stay_sums():
    pipelines = [Pipeline.from_config([{"random_k": {"ratio": 0.1, "error_feedback": 0}}], LAYOUT) for _ in range(2)]
    both = [flat(pipeline.decode(pipeline.encode(update(seed)))) for seed, pipeline in enumerate(pipelines)]
    np.testing.assert_array_equal(both[0] != 0, both[1] != 0)
    other_round = flat(pipelines[0].decode(pipelines[0].encode(update(0, round_number=4))))
    assert ((other_round != 0) != (both[0] != 0)).any()


def test_one_percent_at_eight_bits_of_a_small_vit_is_below_its_budget():
    layout = Layout(("w",), ((5_717_416,),))
    tensors = {"w": np.random.default_rng(0).normal(size=5_717_416).astype(np.float32)}
    pipeline = Pipeline.from_config([{"top_k": {"ratio": 0.01}}, {"quantise": {"bits": 8}}], layout)
    assert len(pipeline.encode(Update(tensors, UpdateMetadata(0, 0, "v", 1)))) <= 200_000


@pytest.mark.parametrize(
    "specs", [["top_k", "clip"], ["quantise", "top_k"], ["top_k", "random_k"], ["quantise", "quantise"]], ids=str
)
def test_an_impossible_order_is_refused(specs):
    with pytest.raises(ConfigurationRefused) as refused:
        Pipeline.from_config(specs, LAYOUT)
    assert refused.value.reason == ConfigurationReason.STAGE_ORDER


@pytest.mark.parametrize(
    "spec",
    [{"clip": {"norm": -1}}, {"top_k": {"ratio": 0}}, {"quantise": {"bits": 7}}, {"clip": {"norm": "big"}}],
    ids=str,
)
def test_a_bad_value_is_refused(spec):
    with pytest.raises(ConfigurationRefused) as refused:
        Pipeline.from_config([spec], LAYOUT)
    assert refused.value.reason == ConfigurationReason.BAD_VALUE


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_vehicle_does_not_send_what_is_not_finite(value):
    broken = update()
    broken.tensors["b"][3] = value
    pipeline = Pipeline.from_config(["top_k"], LAYOUT)
    with pytest.raises(UpdateRefused) as refused:
        pipeline.encode(broken)
    assert refused.value.reason == UpdateReason.NOT_FINITE
    assert not pipeline.state_dict()["residual"].any()


def forged(parts, stages=(), **changes):
    metadata = UpdateMetadata(0, 0, "v", 1)
    header = msgspec.structs.replace(Header.of(metadata, LAYOUT, list(stages)), **changes)
    return pack(header, parts)


DENSE = np.zeros(LAYOUT.size, np.float32)


@pytest.mark.parametrize(
    ("specs", "data", "reason"),
    [
        ([], b"", UpdateReason.BAD_MAGIC),
        ([], b"\x80\x04pickle", UpdateReason.BAD_MAGIC),
        ([], b"FVU1", UpdateReason.MALFORMED_HEADER),
        ([], b"FVU1\xff\xff\xff\xff", UpdateReason.TOO_LARGE),
        ([], bytes(10_000_000), UpdateReason.TOO_LARGE),
        ([], forged({"values": DENSE}, version=9), UpdateReason.UNSUPPORTED_VERSION),
        ([], forged({"values": DENSE}, samples=-1), UpdateReason.MALFORMED_HEADER),
        ([], forged({"values": DENSE}, metrics={"loss": float("nan")}), UpdateReason.NOT_FINITE),
        ([], forged({"values": DENSE}, layout="0" * 64), UpdateReason.WRONG_LAYOUT),
        ([], forged({"values": DENSE}, ["top_k"]), UpdateReason.WRONG_STAGES),
        ([], forged({"values": DENSE[1:]}), UpdateReason.MALFORMED_STAGE),
        ([], forged({"values": DENSE.astype(float)}), UpdateReason.MALFORMED_STAGE),
        ([], forged({}), UpdateReason.MALFORMED_STAGE),
        ([], forged({"values": DENSE + np.nan}), UpdateReason.NOT_FINITE),
        (["quantise"], forged({"codes": np.zeros(5, np.int8)}, ["quantise"]), UpdateReason.MALFORMED_STAGE),
        (
            ["quantise"],
            forged({"codes": np.zeros(LAYOUT.size, np.int8), "scales": np.full(2, np.inf, np.float32)}, ["quantise"]),
            UpdateReason.NOT_FINITE,
        ),
        (
            ["quantise"],
            forged({"codes": np.full(LAYOUT.size, 9, np.int8), "scales": np.full(2, 3e38, np.float32)}, ["quantise"]),
            UpdateReason.NOT_FINITE,
        ),
        (
            ["top_k"],
            forged({"values": DENSE[:13], "positions": np.zeros(10**6, np.uint8)}, ["top_k"]),
            UpdateReason.TOO_LARGE,
        ),
        (
            ["top_k"],
            forged({"values": DENSE[:13], "positions": np.zeros(1000, np.uint8)}, ["top_k"]),
            UpdateReason.MALFORMED_STAGE,
        ),
    ],
    ids=lambda value: str(len(value)) if isinstance(value, bytes) else None,
)
def test_what_this_pipeline_cannot_have_sent_is_refused(specs, data, reason):
    with pytest.raises(UpdateRefused) as refused:
        Pipeline.from_config(specs, LAYOUT).decode(data)
    assert refused.value.reason == reason


@pytest.mark.parametrize("specs", PIPELINES, ids=str)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_update_is_refused_or_finite(specs, data):
    pipeline = Pipeline.from_config(specs, LAYOUT)
    wire = bytearray(pipeline.encode(update()))
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    wire = wire[: data.draw(st.integers(0, len(wire)))] if data.draw(st.booleans()) else wire
    try:
        arrived = pipeline.decode(bytes(wire))
    except UpdateRefused:
        return
    assert np.isfinite(flat(arrived)).all()


@given(st.binary(max_size=300))
def test_random_bytes_behind_the_magic_are_refused(data):
    with pytest.raises(UpdateRefused):
        unpack(b"FVU1" + data, 10_000)
