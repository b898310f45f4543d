"""Hostile bytes: whatever arrives, a decoder answers or refuses with a reason, in bounded memory."""

import random
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fed_vit_autorl.fuzzing.command import run
from fed_vit_autorl.fuzzing.decoders import DECODERS, decoder
from fed_vit_autorl.refusal import Refused

MOST_BYTES = 8 << 20  # that a few hundred bytes of input may cost

# Lengths, counts and nestings that lie: 2^31 items or bytes follow (MessagePack, JSON, safetensors, ZIP of zeros).
BOMBS = (
    b"\xdd\x7f\xff\xff\xff",
    b"\xdf\x7f\xff\xff\xff",
    b"\xc6\x7f\xff\xff\xff",
    b"\x91" * 2000,
    b"[" * 5000,
    b'{"a":' * 5000,
    b"\xff" * 8 + b"{}",
    (2**40).to_bytes(8, "little") + b"{}",
    (70).to_bytes(8, "little") + b'{"w":{"dtype":"F32","shape":[1073741824,4],"data_offsets":[0,4]}}     ' + bytes(4),
)


def answer(name: str, data: bytes) -> None:
    with suppress(Refused):
        decoder(name).decode(data)


@pytest.mark.parametrize("name", DECODERS)
def test_what_is_meant_for_it_is_taken(name):
    for seed in decoder(name).seeds:
        if name == "metadata" and seed[0] == 3:
            continue  # an old root in the place of the next one: refused
        decoder(name).decode(seed)


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_changed_bytes_are_refused_or_taken(name, data):
    content = bytearray(data.draw(st.sampled_from(decoder(name).seeds)))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        stop = data.draw(st.integers(start, min(len(content), start + 8)))
        content[start:stop] = data.draw(st.binary(max_size=8))
    answer(name, bytes(content))


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=40, deadline=None)
@given(data=st.binary(max_size=200))
@example(data=b"")
def test_any_bytes_are_refused_or_taken(name, data):
    answer(name, data)


@pytest.mark.parametrize("name", DECODERS)
def test_lengths_that_lie_cost_no_memory(name):
    found = decoder(name)
    generator = random.Random(name)
    tracemalloc.start()
    try:
        for bomb in BOMBS:
            answer(name, bomb)
            for seed in found.seeds:
                where = generator.randrange(len(seed))
                answer(name, seed[:where] + bomb + seed[where:])
                answer(name, seed[:1] + bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MOST_BYTES


def test_a_coverage_guided_run_finds_no_fault():
    result = run(tuple(DECODERS), "-runs=1500", "-seed=1")
    assert result["fault"] == ""
    assert result["inputs"] >= 1500


def test_the_fuzzer_sees_a_fault(monkeypatch, tmp_path):
    """A decoder that fails on one byte, in the harness itself."""
    (tmp_path / "sitecustomize.py").write_text(
        "import fed_vit_autorl.fuzzing.decoders as d\n"
        "d.DECODERS['topic'] = lambda: d.Decoder((b'xx',), lambda data: 1 / (data[:1] != b'A'))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    result = run(("topic",), "-runs=5000", "-seed=1")
    assert "ZeroDivisionError" in result["fault"]
    assert result["faults"]
