"""The fleet's releases as folders: adopted, made from a round's candidate, rolled back; each is signed, and entered
once it is complete.
"""

from __future__ import annotations

import math
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
import safetensors.numpy
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fed_vit_autorl.deployment import release
from fed_vit_autorl.deployment.candidate import make_candidate, models_of
from fed_vit_autorl.deployment.fleet_config import FleetConfig
from fed_vit_autorl.deployment.offers import Channel, Offer, cohort_of
from fed_vit_autorl.deployment.release import Manifest
from fed_vit_autorl.deployment.tuf_repository import ReleaseRepository
from fed_vit_autorl.federated.cloud.records import ReleaseRecord, Round
from fed_vit_autorl.federated.cloud.store import Store
from fed_vit_autorl.federated.control import CONTROL
from fed_vit_autorl.federated.model_tensors import by_model, trainable
from fed_vit_autorl.federated.update import Tensors

RENEW_S = 10.0
Weights = Mapping[str, Mapping[str, np.ndarray]]


class Rollback(StrEnum):
    """Why an older release came back."""

    OPERATOR = "operator"
    REFERENCE = "reference"  # the reference set's mAP50 fell below that of an earlier release
    SHADOW = "shadow"  # it fell on the vehicles' own experience
    UNPROVEN = "unproven"  # too few vehicles of the canary said how it does


class Evaluate(Protocol):
    """Figures of a release's models, with other weights where given."""

    def __call__(self, folder: Path, manifest: Manifest, weights: Weights) -> dict[str, float]: ...


class Stock(Protocol):
    """An object store for the files of releases."""

    def stock(self, version: int, folder: Path) -> None: ...


class ReleaseFolder:
    """Releases of a fleet below `folder`, one per version; `repository` says which are on offer, and `announce()` is
    called when that changes.
    """

    def __init__(
        self,
        folder: Path,
        config: FleetConfig,
        store: Store,
        key: Ed25519PrivateKey,
        trusted: list[Ed25519PublicKey],
        repository: ReleaseRepository,
        evaluate: Evaluate,
        announce: Callable[[], None],
        objects: Stock | None = None,
    ) -> None:
        """`objects`: where vehicles fetch the files of releases, if not from here."""
        self.folder_of_all = Path(folder)
        self.folder_of_all.mkdir(parents=True, exist_ok=True)
        self._config, self._store, self._key, self._evaluate, self._announce = config, store, key, evaluate, announce
        self._trusted, self._repository = [key.public_key(), *trusted], repository
        self._lock = threading.RLock()
        self._renew_at, self._objects = 0.0, objects
        entered = {str(record.version) for record in store.releases()}
        for path in self.folder_of_all.iterdir():
            if path.name not in entered:  # a crash came before it was complete, or entered
                shutil.rmtree(path)

    @property
    def version(self) -> int:
        return self.current.version

    @property
    def current(self) -> ReleaseRecord:
        """The release in force."""
        return self._store.releases()[-1]

    def folder(self, version: int) -> Path:
        return self.folder_of_all / str(version)

    def manifest(self, version: int) -> Manifest:
        """Its signature is checked whenever it is read."""
        return release.read_manifest(self.folder(version), self._trusted)

    def adopt(self, initial: Path) -> None:
        """Takes over a release made elsewhere as the fleet's first; a fleet that has one keeps its own, and what is
        entered is put on offer if a crash came between.
        """
        if self._store.releases():
            self._offer(self.current)
            return
        manifest = release.verify(initial, self._trusted)
        target = self.folder(manifest.version)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(initial, target)
        self._enter(manifest, "pretrained", 0, self._measure(target, manifest, {}))

    def take_over(self, folder: Path, manifest: Manifest) -> None:
        """A verified release of an aggregator above, signed anew under its own version, which must be newer."""
        with self._lock:
            release.require_newer(manifest, self.version)
            target = self.folder(manifest.version)
            shutil.rmtree(target, ignore_errors=True)
            own = release.write_release(
                target,
                {name: folder / name for name in manifest.files},
                self._key,
                version=manifest.version,
                parent=manifest.parent,
                round=manifest.round,
                architecture=manifest.architecture,
                metrics=manifest.metrics,
                configuration=manifest.configuration,
            )
            self._enter(own, "above", 0, manifest.metrics)

    def weights(self, version: int) -> Tensors:
        manifest = self.manifest(version)
        weights = {model: release.read_weights(self.folder(version), manifest, model) for model in models_of(manifest)}
        return trainable(weights, self._config.federation.trainable)

    def evaluate(self, version: int, weights: Tensors | None) -> dict[str, float]:
        if weights is None:
            return next(record.metrics for record in self._store.releases() if record.version == version)
        return self._measure(self.folder(version), self.manifest(version), by_model(weights))

    def publish(self, round: Round, weights: Tensors, metrics: dict[str, float], control: Tensors) -> int:
        with self._lock:
            known = [
                r for r in self._store.releases() if (r.kind, r.run, r.round) == ("round", round.run, round.number)
            ]
            if known:
                return known[0].version
            beside = {CONTROL: safetensors.numpy.save(control)} if control else {}
            manifest = self._make(round.base, by_model(weights), round.number, metrics, beside)
            return self._enter(manifest, "round", round.base, metrics, round)

    def roll_back(self, version: int, reason: Rollback) -> int:
        """A new version with the files of an old one: releases only ever move forward. Raises KeyError for an unknown
        one.
        """
        with self._lock:
            record = next((record for record in self._store.releases() if record.version == version), None)
            if record is None:
                raise KeyError(f"no release {version}")
            self._store.set_setting(f"rollback/{self.version + 1}", reason)
            manifest = self._make(version, {}, record.round, record.metrics)
            return self._enter(manifest, "rollback", version, record.metrics)

    def reason(self, version: int) -> str:
        """Why a rollback was made, "" for another release."""
        return self._store.setting(f"rollback/{version}")

    @property
    def canary(self) -> Offer | None:
        """The release that a part of the fleet tries."""
        return self._repository.offers().get(Channel.CANARY)

    def widen(self) -> None:
        """What the canary tries is for all from now on."""
        with self._lock:
            canary = self.canary
            if canary is not None and self._repository.offer(
                {Channel.FLEET: Offer(canary.version, canary.digest, canary.size)}
            ):
                self._announce()

    def renew(self, now: float) -> None:
        """Keeps the word fresh that what is on offer still is. `now` is a steady clock in seconds."""
        if now >= self._renew_at:
            with self._lock:
                self._repository.renew()
            self._renew_at = now + RENEW_S

    def _make(
        self,
        base: int,
        weights: Weights,
        round: int,
        metrics: dict[str, float],
        beside: Mapping[str, bytes] = MappingProxyType({}),
    ) -> Manifest:
        """The next version's folder, with the files `beside` the base's; one that a crash left behind unentered is made
        anew: nobody has seen it.
        """
        version = self.current.version + 1
        shutil.rmtree(self.folder(version), ignore_errors=True)
        return make_candidate(
            self.folder(base),
            self.manifest(base),
            self.folder(version),
            weights,
            self._key,
            version=version,
            round=round,
            metrics=metrics,
            configuration=self._config.digest,
            beside=beside,
        )

    def _enter(
        self, manifest: Manifest, kind: str, source: int, metrics: dict[str, float], round: Round | None = None
    ) -> int:
        run, number = (round.run, round.number) if round else ("", manifest.round)
        record = ReleaseRecord(manifest.version, manifest.digest, kind, source, run, number, metrics, time.time())
        self._store.add_release(record)
        self._offer(record)
        return manifest.version

    def _offer(self, record: ReleaseRecord) -> None:
        """To a part of the fleet first, if it is to be tried."""
        offers = self._repository.offers()
        if record.version in (offer.version for offer in offers.values()):
            return
        size = (self.folder(record.version) / release.MANIFEST).stat().st_size
        share, names = self._config.rollout.canary_share, [vehicle.name for vehicle in self._store.vehicles()]
        if share < 1 and record.kind == "round" and Channel.FLEET in offers:
            cohort = cohort_of(names, record.version, max(1, math.ceil(share * len(names))))
            offers[Channel.CANARY] = Offer(record.version, record.digest, size, cohort)
        else:
            offers = {Channel.FLEET: Offer(record.version, record.digest, size)}
        if self._objects is not None:
            self._objects.stock(record.version, self.folder(record.version))
        if self._repository.offer(offers):
            self._announce()

    def _measure(self, folder: Path, manifest: Manifest, weights: Weights) -> dict[str, float]:
        return self._evaluate(folder, manifest, weights)
