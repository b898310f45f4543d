"""What the shield knows at a tick: each new input is checked once and monitored over time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.data.sample import EgoState
from fed_vit_autorl.reinforcement.route import Pose

from .assumptions import Assumptions
from .monitors import ClockMonitor, LocalisationMonitor, ScanMonitor, blind_sector, dead_reckoned
from .reasons import Reason
from .surroundings import Surroundings
from .types import Odometry, Scan, ShieldInputs
from .validation import odometry_fault, proposal_fault, scan_fault, stamp_fault


@dataclass(frozen=True, slots=True)
class Observation:
    """The ego (None while its motion is unknown), whether its pose can be trusted, what is wrong, gravest first."""

    ego: EgoState | None
    localised: bool
    faults: tuple[Reason, ...]


class Senses:
    """Input checks and monitors. Its state changes only with a new message, or when the clock jumps."""

    def __init__(self, base_from_lidar: NDArray[np.float64], assumptions: Assumptions) -> None:
        self._a = assumptions
        self._clock = ClockMonitor(assumptions)
        self.surroundings = Surroundings(base_from_lidar, assumptions)
        self._forget()

    def _forget(self) -> None:
        self.localisation, self._scans = LocalisationMonitor(self._a), ScanMonitor(self._a)
        self.surroundings.forget()
        self._odometry: Odometry | None = None
        self._scan: Scan | None = None
        self._ego: EgoState | None = None
        self._ego_fault: Reason | None = None
        self._lost = False
        self._scan_faults: tuple[Reason | None, ...] = ()

    @property
    def has_seen(self) -> bool:
        """Whether a scan has ever been taken in."""
        return self._scan is not None

    def observe(self, inputs: ShieldInputs, now: float, pushed: bool) -> Observation:
        """Takes in what is new at `now` [s]; `pushed`: whether the vehicle is commanded to accelerate."""
        clock = self._clock.check(now)
        if clock:
            self._forget()
        blind = odometry_fault(inputs.odometry, now, self._a)
        if blind is None:
            self._take_odometry(inputs.odometry, pushed)
            blind = self._ego_fault
        jump = Reason.ODOMETRY_JUMP if self._lost else None
        scan = self._take_scan(inputs.scan, now)
        collision = Reason.COLLISION if inputs.collision else None
        broken = Reason.SHIELD_FAULT if inputs.shield_fault else None
        found = (collision, broken, clock, blind, jump, *scan, proposal_fault(inputs.proposal, now, self._a))
        faults = tuple(fault for fault in found if fault is not None)
        return Observation(None if blind else self._ego, jump is None, faults)

    def _take_odometry(self, odometry: Odometry, pushed: bool) -> None:
        if self._odometry is not None and odometry.stamp <= self._odometry.stamp:
            return
        self._odometry, before = odometry, self._ego
        self._ego, fault = self.localisation.update(odometry, pushed)
        if fault is Reason.ODOMETRY_JUMP:
            self._relocate(before, self._ego)
            self._ego_fault, self._lost = None, True
            return
        self._ego_fault = fault
        # Nobody can say whether the place before the jump was the wrong one or the one after: who drives stops first.
        self._lost &= abs(self._ego.speed) >= self._a.standstill

    def _relocate(self, before: EgoState, ego: EgoState) -> None:
        passed = ego.stamp - before.stamp
        if passed <= self._a.odometry_deadline:
            self.surroundings.relocate(dead_reckoned(before, passed), Pose(*ego.position[:2], ego.yaw))
        else:  # after so long it has rather driven elsewhere than been at another place
            self.surroundings.forget()

    def _take_scan(self, scan: Scan | None, now: float) -> tuple[Reason | None, ...]:
        if scan is None or scan is not self._scan:
            fault = scan_fault(scan, now, self._a)
            at_scan = self.localisation.at(scan.stamp) if fault is None else None
            if at_scan is None:  # nor is there before the first odometry
                return (fault,)
            self._scan = scan
            seen = self.surroundings.update(scan, at_scan)
            frozen = self._scans.update(scan, abs(at_scan.speed) > self._a.frozen_speed)
            self._scan_faults = frozen, blind_sector(seen.sector_returns, self._a)
            return self._scan_faults
        return stamp_fault(scan.stamp, now, self._a), *self._scan_faults
