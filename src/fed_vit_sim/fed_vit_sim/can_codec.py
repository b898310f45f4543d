"""A small drive-by-wire protocol on CAN: one command frame, one feedback frame, both checked.

Frames have 8 little-endian bytes. The last is a CRC-8 (SAE J1850: polynomial 0x1D, initial and final 0xFF) over the low
byte of the frame's id and the seven bytes before it. The counter steps by one modulo 16 with each frame, so that a
frozen sender is seen.

- command 0x101: int16 steering [1e-4 rad, left +]; uint8 throttle [1/250]; uint8 brake [1/250];
  uint8 flags (1 hand brake, 2 hazard lights); uint8 0; uint8 counter; uint8 CRC
- feedback 0x201: int16 steering [1e-4 rad]; int16 speed [0.01 m/s, forward +];
  uint8 flags (1 driver override, 2 fault); uint8 0; uint8 counter; uint8 CRC
"""

import math
import struct
from dataclasses import dataclass
from enum import StrEnum

from fed_vit_common.node import InputRefused

COMMAND_ID = 0x101
FEEDBACK_ID = 0x201
STEERING_SCALE = 1e-4
PEDAL_SCALE = 1 / 250
SPEED_SCALE = 0.01
COUNTER_MODULUS = 16
_COMMAND = struct.Struct("<hBBBBB")
_FEEDBACK = struct.Struct("<hhBBB")


class CanReason(StrEnum):
    """Why a frame is not used."""

    CAN_LENGTH = "can_length"
    CAN_CHECKSUM = "can_checksum"
    CAN_COUNTER = "can_counter"
    CAN_NOT_FINITE = "can_not_finite"
    CAN_NOT_SENT = "can_not_sent"


@dataclass(frozen=True)
class CanCommand:
    """What the vehicle is told: steering [rad, left +], throttle and brake in [0, 1]."""

    steering_angle: float
    throttle: float
    brake: float
    hand_brake: bool = False
    hazard_lights: bool = False


@dataclass(frozen=True)
class CanFeedback:
    """What the vehicle reports: steering [rad, left +], speed [m/s, forward +]."""

    steering_angle: float
    speed: float
    driver_override: bool = False
    fault: bool = False


def crc8(data: bytes) -> int:
    """CRC-8 SAE J1850."""
    value = 0xFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ 0x1D if value & 0x80 else value << 1) & 0xFF
    return value ^ 0xFF


def encode_command(command: CanCommand, counter: int) -> bytes:
    """The command frame's 8 bytes; values beyond the frame's range are limited to it, NaN is refused."""
    pedals = (_scaled(value, PEDAL_SCALE, 0, 250) for value in (command.throttle, command.brake))
    flags = command.hand_brake | command.hazard_lights << 1
    steering = _scaled(command.steering_angle, STEERING_SCALE, -32768, 32767)
    return _sealed(COMMAND_ID, _COMMAND.pack(steering, *pedals, flags, 0, counter % COUNTER_MODULUS))


def decode_command(data: bytes) -> tuple[CanCommand, int]:
    """A command frame and its counter; raises InputRefused for a wrong length or checksum."""
    steering, throttle, brake, flags, _, counter = _COMMAND.unpack(_opened(COMMAND_ID, data))
    command = CanCommand(
        steering * STEERING_SCALE, throttle * PEDAL_SCALE, brake * PEDAL_SCALE, bool(flags & 1), bool(flags & 2)
    )
    return command, counter


def encode_feedback(feedback: CanFeedback, counter: int) -> bytes:
    """The feedback frame's 8 bytes."""
    steering = _scaled(feedback.steering_angle, STEERING_SCALE, -32768, 32767)
    speed = _scaled(feedback.speed, SPEED_SCALE, -32768, 32767)
    flags = feedback.driver_override | feedback.fault << 1
    return _sealed(FEEDBACK_ID, _FEEDBACK.pack(steering, speed, flags, 0, counter % COUNTER_MODULUS))


def decode_feedback(data: bytes, previous: int | None) -> tuple[CanFeedback, int]:
    """A feedback frame and its counter.

    Raises:
        InputRefused: wrong length or checksum, or the counter did not move since ``previous``.
    """
    steering, speed, flags, _, counter = _FEEDBACK.unpack(_opened(FEEDBACK_ID, data))
    if counter == previous:
        raise InputRefused(CanReason.CAN_COUNTER, f"still {counter}")
    return CanFeedback(steering * STEERING_SCALE, speed * SPEED_SCALE, bool(flags & 1), bool(flags & 2)), counter


def _scaled(value: float, scale: float, lower: int, upper: int) -> int:
    if not math.isfinite(value):
        raise InputRefused(CanReason.CAN_NOT_FINITE)
    return min(max(round(value / scale), lower), upper)


def _sealed(identifier: int, payload: bytes) -> bytes:
    return payload + bytes([crc8(bytes([identifier & 0xFF]) + payload)])


def _opened(identifier: int, data: bytes) -> bytes:
    if len(data) != 8:
        raise InputRefused(CanReason.CAN_LENGTH, f"{len(data)} bytes")
    payload = bytes(data[:7])
    if data[7] != crc8(bytes([identifier & 0xFF]) + payload):
        raise InputRefused(CanReason.CAN_CHECKSUM)
    return payload
