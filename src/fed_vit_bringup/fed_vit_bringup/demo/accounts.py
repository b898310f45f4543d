"""Whether every update that a vehicle made was counted once: the vehicles' outboxes against the aggregator's store."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fed_vit_autorl.deployment import release
from fed_vit_autorl.deployment.candidate import models_of
from fed_vit_autorl.deployment.keys import load_public_keys
from fed_vit_autorl.federated.cloud.store import Store
from fed_vit_autorl.federated.model_tensors import trainable
from fed_vit_autorl.federated.vehicle.outbox import Outbox


@dataclass(frozen=True)
class UpdateAccounts:
    """Rounds that ended; updates that entered one, were refused, or were made and never arrived; mean size of one."""

    rounds: int
    accepted: int
    rejected: int
    lost: int
    bytes_per_update: float


def update_accounts(aggregator: Path, outboxes: Mapping[str, Path], run: str) -> UpdateAccounts:
    """Compares the books after everything has stopped."""
    store = Store(aggregator)
    try:
        rounds = store.rounds(run)
        stored = [update for round_ in rounds for update in store.updates(run, round_.number)]
    finally:
        store.close()
    counted = {(update.vehicle, update.round) for update in stored}
    refused = lost = 0
    for vehicle, folder in outboxes.items():
        outbox = Outbox(folder)
        for entry in outbox.all():
            refused += entry.state == "refused"
            lost += entry.state != "refused" and (vehicle, entry.manifest.round) not in counted
    return UpdateAccounts(
        rounds=sum(1 for round_ in rounds if round_.ended),
        accepted=len(stored),
        rejected=refused,
        lost=lost,
        bytes_per_update=sum(update.size for update in stored) / len(stored) if stored else 0.0,
    )


def dense_bytes(folder: Path, trusted_keys: Path, patterns: list[str]) -> int:
    """What an update would weigh as float32, uncompressed [bytes]."""
    manifest = release.read_manifest(folder, load_public_keys(trusted_keys))
    weights = {model: release.read_weights(folder, manifest, model) for model in models_of(manifest)}
    return sum(tensor.nbytes for tensor in trainable(weights, patterns).values())
