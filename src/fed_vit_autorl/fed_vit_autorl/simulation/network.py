"""`NetworkSimulator`: packet loss, latency and bandwidth of every vehicle's way to the nearest roadside unit, over
time.

A radio link carries packets whose mean received power decides rate and loss (IEEE 802.11p, 10 MHz at 5.9 GHz);
vehicles that no roadside unit reaches are relayed by others. Everything is a function of seed, vehicle and time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FREQUENCY_HZ = 5.9e9
LIGHT_SPEED = 299_792_458.0
TRANSMIT_DBM = 23.0
ANTENNA_GAIN_DBI = 3.0
VEHICLE_ANTENNA_M = 1.5
ROADSIDE_ANTENNA_M = 6.0
PACKET_BYTES = 1460

# Least received power [dBm] for each rate [bit/s], IEEE 802.11-2012 table 18-14, 10 MHz channels.
SENSITIVITY_DBM = np.array([-85.0, -84.0, -82.0, -80.0, -77.0, -73.0, -69.0, -68.0])
RATES = np.array([3.0, 4.5, 6.0, 9.0, 12.0, 18.0, 24.0, 27.0]) * 1e6
FADE_MARGIN_DB = 10.0  # the rate is chosen this far above its sensitivity
RANGE_LOSS = 0.5  # a link that loses more than this is none
HOP_OVERHEAD_S = 0.002  # channel access and queueing
NO_LATENCY = math.inf

Propagation = Callable[[NDArray[np.float64], float, float], NDArray[np.float64]]
"""(distance [m], height of one antenna [m], of the other) → received power [dBm]."""


def free_space(distance: NDArray[np.float64], height: float, other: float) -> NDArray[np.float64]:
    """Friis: P = Pt G² (λ / 4πd)²."""
    wavelength = LIGHT_SPEED / FREQUENCY_HZ
    loss = 20 * np.log10(4 * np.pi * np.maximum(distance, 1.0) / wavelength)
    return TRANSMIT_DBM + 2 * ANTENNA_GAIN_DBI - loss


def two_ray_ground(distance: NDArray[np.float64], height: float, other: float) -> NDArray[np.float64]:
    """Rappaport, Wireless Communications, 4.6: beyond the crossover distance 4π h h' / λ the ray from the road all but
    cancels the direct one and P = Pt G² (h h')² / d⁴; nearer it is Friis.
    """
    crossover = 4 * np.pi * height * other * FREQUENCY_HZ / LIGHT_SPEED
    clipped = np.maximum(distance, 1.0)
    far = TRANSMIT_DBM + 2 * ANTENNA_GAIN_DBI + 20 * np.log10(height * other) - 40 * np.log10(clipped)
    return np.where(clipped < crossover, free_space(distance, height, other), far)


def loss_probability(power_dbm: NDArray[np.float64], needed_dbm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of packets that Rayleigh fading takes below the power they need: 1 - exp(-needed / mean), both in mW."""
    return -np.expm1(-(10 ** ((needed_dbm - power_dbm) / 10)))


class Highway:
    """Vehicles at constant speeds on a ring road of two directions; a roadside unit every `spacing_m`."""

    def __init__(
        self, vehicles: int, generator: np.random.Generator, length_m: float = 4000.0, spacing_m: float = 1000.0
    ) -> None:
        self.length_m = length_m
        self.roadside = np.arange(spacing_m / 2, length_m, spacing_m)
        self._start = generator.uniform(0, length_m, vehicles)
        direction = np.where(np.arange(vehicles) % 2, -1.0, 1.0)
        self._speed = direction * np.clip(generator.normal(30.0, 4.0, vehicles), 15.0, 45.0)

    def positions(self, time_s: float) -> NDArray[np.float64]:
        """Along the road (N,) [m]."""
        return (self._start + self._speed * time_s) % self.length_m


class Parked(Highway):
    """The same road with everybody standing still."""

    def positions(self, time_s: float) -> NDArray[np.float64]:
        return self._start


@dataclass(frozen=True)
class Link:
    """A vehicle's way to the infrastructure: `loss` of a packet in [0, 1], `latency_s`, `bandwidth` [bit/s], `hops`
    (0: there is none).
    """

    loss: float
    latency_s: float
    bandwidth: float
    hops: int

    @classmethod
    def none(cls) -> Link:
        return cls(1.0, NO_LATENCY, 0.0, 0)


MOBILITY: dict[str, type[Highway]] = {"highway": Highway, "parked": Parked}
PROPAGATION: dict[str, Propagation] = {"two_ray_ground": two_ray_ground, "free_space": free_space}
RELAYS: dict[str, int] = {"vehicular_adhoc": 3, "infrastructure": 0}
"""Topology → vehicles that may relay for another."""


class NetworkSimulator:
    """Vehicles are numbered from 0, time is in seconds from the start. Raises ValueError for an unknown name."""

    def __init__(
        self,
        topology: str = "vehicular_adhoc",
        mobility_model: str = "highway",
        propagation_model: str = "two_ray_ground",
        vehicles: int = 20,
        seed: int = 0,
    ) -> None:
        for name, table in ((topology, RELAYS), (mobility_model, MOBILITY), (propagation_model, PROPAGATION)):
            if name not in table:
                raise ValueError(f"unknown {name!r}; known: {', '.join(table)}")
        self._relays = RELAYS[topology]
        self._seed, self._vehicles = seed, vehicles
        self._road = MOBILITY[mobility_model](vehicles, np.random.default_rng(seed))
        self._power = PROPAGATION[propagation_model]

    def link(self, vehicle: int, time_s: float) -> Link:
        """Fewest hops first, then least loss; every hop shares one channel, so the rate is divided by them."""
        positions = self._road.positions(time_s)
        down = self._gap(positions[:, None], self._road.roadside[None])
        rate, loss = _rate_and_loss(self._power(down.min(axis=1), VEHICLE_ANTENNA_M, ROADSIDE_ANTENNA_M))
        best = [
            Link(float(loss[i]), _hop_latency(rate[i]), float(rate[i]), 1) if rate[i] else Link.none()
            for i in range(self._vehicles)
        ]
        if best[vehicle].hops or not self._relays:
            return best[vehicle]
        between = self._gap(positions[:, None], positions[None])
        side_rate, side_loss = _rate_and_loss(self._power(between, VEHICLE_ANTENNA_M, VEHICLE_ANTENNA_M))
        for hops in range(2, self._relays + 2):
            best = [
                own if own.hops else self._relayed(i, best, side_rate, side_loss, hops) for i, own in enumerate(best)
            ]
            if best[vehicle].hops:
                break
        return best[vehicle]

    def packet_lost(self, vehicle: int, time_s: float, packet: int = 0) -> bool:
        """Whether packet number `packet` that is sent at that time is lost; the same answer for the same question."""
        draw = np.random.default_rng((self._seed, vehicle, int(time_s * 1e6), packet)).random()
        return bool(draw < self.link(vehicle, time_s).loss)

    def get_latency(self, vehicle: int, time_s: float) -> float:
        """One way, for one packet [s]; infinite without a link."""
        return self.link(vehicle, time_s).latency_s

    def get_bandwidth(self, vehicle: int, time_s: float) -> float:
        """[bit/s]; 0 without a link."""
        return self.link(vehicle, time_s).bandwidth

    def _relayed(self, vehicle: int, best: list[Link], rate: NDArray, loss: NDArray, hops: int) -> Link:
        ways = [
            Link(
                1 - (1 - float(loss[vehicle, other])) * (1 - link.loss),
                link.latency_s + _hop_latency(rate[vehicle, other]),
                min(float(rate[vehicle, other]), link.bandwidth * link.hops) / hops,
                hops,
            )
            for other, link in enumerate(best)
            if other != vehicle and link.hops == hops - 1 and rate[vehicle, other]
        ]
        return min(ways, key=lambda way: (way.loss, way.latency_s), default=Link.none())

    def _gap(self, one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distance on the ring [m]."""
        apart = np.abs(one - other)
        return np.minimum(apart, self._road.length_m - apart)


def _rate_and_loss(power: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rate [bit/s] that leaves the fade margin (the lowest one where none does) and its loss; (0, 1) out of range."""
    index = np.maximum(np.searchsorted(SENSITIVITY_DBM, power - FADE_MARGIN_DB, side="right") - 1, 0)
    loss = loss_probability(power, SENSITIVITY_DBM[index])
    reached = loss <= RANGE_LOSS
    return np.where(reached, RATES[index], 0.0), np.where(reached, loss, 1.0)


def _hop_latency(rate: float) -> float:
    return HOP_OVERHEAD_S + 8 * PACKET_BYTES / rate
