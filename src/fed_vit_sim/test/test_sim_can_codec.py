"""The CAN protocol: its checksum's published check value, round trips, refusals."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fed_vit_common.node import InputRefused
from fed_vit_sim.can_codec import (
    FEEDBACK_ID,
    CanCommand,
    CanFeedback,
    crc8,
    decode_command,
    decode_feedback,
    encode_command,
    encode_feedback,
)


def test_the_checksum_is_sae_j1850():
    assert crc8(b"123456789") == 0x4B  # the catalogue's check value


def test_the_documented_bytes():
    frame = encode_command(CanCommand(0.1, 0.5, 0.2, hazard_lights=True), 17)
    # 1000 = 0x03E8 little-endian, 125, 50, flag 2, reserved, 17 mod 16
    assert frame[:7] == bytes([0xE8, 0x03, 125, 50, 2, 0, 1])
    assert frame[7] == crc8(bytes([0x01]) + frame[:7])


@given(st.floats(-3.2, 3.2), st.floats(0, 1), st.floats(0, 1), st.booleans(), st.booleans(), st.integers(0, 100))
def test_a_command_survives_to_the_frames_resolution(steering, throttle, brake, hand_brake, hazard, counter):
    sent = CanCommand(steering, throttle, brake, hand_brake, hazard)
    received, number = decode_command(encode_command(sent, counter))
    assert received.steering_angle == pytest.approx(steering, abs=0.51e-4)
    assert received.throttle == pytest.approx(throttle, abs=0.51 / 250)
    assert received.brake == pytest.approx(brake, abs=0.51 / 250)
    assert (received.hand_brake, received.hazard_lights, number) == (hand_brake, hazard, counter % 16)


@given(st.floats(-3.2, 3.2), st.floats(-300, 300), st.booleans(), st.booleans(), st.integers(0, 15))
def test_feedback_survives_to_the_frames_resolution(steering, speed, override, fault, counter):
    frame = encode_feedback(CanFeedback(steering, speed, override, fault), counter)
    received, number = decode_feedback(frame, None)
    assert received.speed == pytest.approx(speed, abs=0.0051)
    assert (received.driver_override, received.fault, number) == (override, fault, counter)


@given(st.binary(max_size=64))
def test_bytes_without_the_right_checksum_are_refused(data):
    assume(len(data) != 8 or crc8(bytes([FEEDBACK_ID & 0xFF]) + data[:7]) != data[7])
    with pytest.raises(InputRefused, match=r"can_length|can_checksum"):
        decode_feedback(data, None)


@given(st.integers(0, 7), st.integers(0, 7))
def test_one_wrong_bit_is_seen(byte, bit):
    frame = bytearray(encode_feedback(CanFeedback(0.1, 5.0), 3))
    frame[byte] ^= 1 << bit
    with pytest.raises(InputRefused, match="can_checksum"):
        decode_feedback(bytes(frame), None)


def test_a_counter_that_stands_still_is_a_frozen_sender():
    with pytest.raises(InputRefused, match="can_counter"):
        decode_feedback(encode_feedback(CanFeedback(0.0, 0.0), 5), 5)


def test_nan_is_refused_and_too_much_is_limited():
    with pytest.raises(InputRefused, match="can_not_finite"):
        encode_command(CanCommand(math.nan, 0.0, 0.0), 0)
    command, _ = decode_command(encode_command(CanCommand(9.0, 9.0, -1.0), 0))
    assert command.steering_angle == pytest.approx(3.2767)
    assert (command.throttle, command.brake) == (1.0, 0.0)
