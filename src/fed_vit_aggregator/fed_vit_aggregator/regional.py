"""An aggregator of a region below another one: to that one it is a vehicle, whose training is a round of its own.

A task from above opens a round of the region from the release that the task names; the region's model minus that
release goes up as one update, with the samples of its vehicles; the releases of the aggregator above become the
region's, signed anew under their own versions. Vehicles notice nothing of it.
"""

from __future__ import annotations

from pathlib import Path

import safetensors.numpy

from fed_vit_aggregator.releases import ReleaseFolder
from fed_vit_aggregator.settings import Settings
from fed_vit_autorl.federated.cloud.records import Phase, Round
from fed_vit_autorl.federated.cloud.rounds import Releases
from fed_vit_autorl.federated.cloud.store import Store
from fed_vit_autorl.federated.protocol.wire import Task
from fed_vit_autorl.federated.update import Tensors
from fed_vit_autorl.federated.vehicle.service import ClientService, ClientSettings
from fed_vit_autorl.federated.vehicle.training import ClientReason, LocalTensors, TrainingResult


class RegionalTrainer:
    """Trains by a round of the region's own vehicles; which round stands for which task is in the store."""

    def __init__(self, store: Store, releases: ReleaseFolder, run: str, max_samples: int) -> None:
        self._store, self._releases, self._run, self._most = store, releases, run, max_samples
        self._task: Task | None = None

    @property
    def running(self) -> bool:
        return self._task is not None

    def start(self, task: Task, base: Path, local: LocalTensors, now: float) -> None:
        ended = self._round_of(task)
        if ended is not None and ended.phase in (Phase.HELD, Phase.ABANDONED):
            self._store.set_setting(_key(task), "")  # another round may do better
        self._task = task

    def cancel(self) -> None:
        self._task = None

    def poll(self, now: float) -> TrainingResult | None:
        task = self._task
        found = self._round_of(task) if task is not None else None
        if found is None or not found.phase.ended:
            return None
        self._task = None
        if found.phase is not Phase.RELEASED:
            return TrainingResult(reason=ClientReason.TRAINING_FAILED)
        return self._result(found)

    def wants(self, number: int) -> bool:
        """Whether the region's next round, `number`, is to begin now; then it stands for the task, durably."""
        task = self._task
        if task is None or self._releases.version != task.base_version:
            return False
        known = self._store.setting(_key(task))
        if not known:
            self._store.set_setting(_key(task), str(number))
        return known in ("", str(number))

    def _round_of(self, task: Task) -> Round | None:
        number = self._store.setting(_key(task))
        last = self._store.last_round(self._run)
        if not number or last is None or last.number < int(number):
            return None
        return self._store.round(self._run, int(number))

    def _result(self, ended: Round) -> TrainingResult:
        base = self._releases.weights(ended.base)
        model = safetensors.numpy.load(self._store.objects.read(ended.model))
        updates = self._store.updates(ended.run, ended.number)
        return TrainingResult(
            {name: tensor - base[name] for name, tensor in model.items()},
            sum(min(update.samples, self._most) for update in updates),
            {"vehicles": float(len(updates))},
        )


class RegionalReleases(Releases):
    """A region's rounds end with a model for the aggregator above, not with a release."""

    def __init__(self, folder: ReleaseFolder) -> None:
        self._folder = folder

    @property
    def version(self) -> int:
        return self._folder.version

    def weights(self, version: int) -> Tensors:
        return self._folder.weights(version)

    def evaluate(self, version: int, weights: Tensors | None) -> dict[str, float]:
        return self._folder.evaluate(version, weights)

    def publish(self, round: Round, weights: Tensors, metrics: dict[str, float], control: Tensors) -> int:
        return round.base


class Above:
    """The region's link to the aggregator above it."""

    def __init__(self, settings: Settings, store: Store, releases: ReleaseFolder, run: str, max_samples: int) -> None:
        self._own = releases
        self.trainer = RegionalTrainer(store, releases, run, max_samples)
        above = settings.above
        client = ClientSettings(
            region=above.region,
            broker_host=above.broker.host,
            broker_port=above.broker.port,
            identity=Path(above.identity),
            state=settings.folder / "above",
            initial_release=Path(settings.initial_release),
        )
        self._client = ClientService(client, self.trainer)

    def start(self) -> None:
        self._client.start()

    def stop(self) -> None:
        self._client.stop()

    def step(self) -> None:
        """Takes over the release that the aggregator above has made, if there is a newer one."""
        active = self._client.releases.active
        if active is not None and active[1].version > self._own.version:
            self._own.take_over(*active)


def _key(task: Task) -> str:
    return f"above/{task.run}/{task.round}"
