"""A fleet's training file: checked when it is loaded, an unknown key refused with the one that was probably meant."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from fed_vit_autorl.deployment.config_file import Section, load_yaml
from fed_vit_autorl.deployment.delivery_config import Rollout, SecondPlane
from fed_vit_autorl.federated.cloud.profiles import narrowing
from fed_vit_autorl.federated.combinations import FleetPlan, check_combination
from fed_vit_autorl.federated.pipeline import check_order
from fed_vit_autorl.federated.protocol.wire import Name
from fed_vit_autorl.federated.refusal import ConfigurationReason, ConfigurationRefused
from fed_vit_autorl.federated.registry import split_spec
from fed_vit_autorl.federated.selection import weighting
from fed_vit_autorl.federated.stages import STAGES, SecureMask
from fed_vit_autorl.federated.strategies import STRATEGIES
from fed_vit_autorl.privacy.mechanisms import MECHANISMS, Mechanism
from fed_vit_autorl.privacy.release import Release

Positive = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
Spec = str | dict[str, dict[str, Any] | None]


class Asynchronous(Section):
    """Buffered rounds (FedBuff): one ends with its first `buffer_size` updates, which may be made for it or for one of
    the `max_staleness` rounds before; those count (1 + staleness)^-`staleness_factor`, by versions of the model.
    """

    buffer_size: Annotated[int, msgspec.Meta(ge=1)]
    staleness_factor: Positive = 0.5
    max_staleness: Annotated[int, msgspec.Meta(ge=1)] = 10


class Profile(Section):
    """A device class that trains a part of the model (`submodels`): vehicles whose names match, and what is left of
    the model for them; see `federated.submodel.narrow`.
    """

    vehicles: Annotated[list[str], msgspec.Meta(min_length=1)]
    width: Share = 1.0
    keep: list[str] = msgspec.field(default_factory=lambda: ["*"])
    fixed: list[str] = msgspec.field(default_factory=list)
    groups: dict[str, int] = msgspec.field(default_factory=dict)
    thinned: list[str] = msgspec.field(default_factory=lambda: ["*"])


class Federation(Section):
    """Rounds. One begins when `vehicles_per_round` are online, or `min_vehicles` have been for `gather_s`; it ends
    when all selected have sent, or `deadline_s` after its start if `min_vehicles` have. `aggregation` names a
    strategy, with options if need be; `trainable` are patterns of tensor names (`perception/*`), `personal` those of
    them that each vehicle keeps for itself; `drift_gate` is the share of its mAP50 that a candidate may lose.
    Vehicles learn at `client_lr` in the first round and at `client_lr_decay` times the rate before in each later one:
    at a rate that stays, several steps between averages end beside the optimum when vehicles live apart (Li et al.,
    "On the convergence of FedAvg on non-IID data", 2020).
    `asynchronous` rounds wait for nobody; `profiles` are device classes by name, for `submodels`.
    """

    run: Name = "main"
    region: Name = "home"
    num_rounds: Annotated[int, msgspec.Meta(ge=1)] = 1000
    vehicles_per_round: Annotated[int, msgspec.Meta(ge=1)] = 100
    min_vehicles: Annotated[int, msgspec.Meta(ge=1)] = 2
    deadline_s: Positive = 600.0
    gather_s: Annotated[float, msgspec.Meta(ge=0)] = 10.0
    aggregation: Spec = "fedavg"
    weighting: str = "samples"
    client_lr: Positive = 0.001
    client_lr_decay: Share = 1.0
    server_lr: Positive = 1.0
    seed: int = 0
    drift_gate: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.1
    trainable: Annotated[list[str], msgspec.Meta(min_length=1)] = msgspec.field(default_factory=lambda: ["*"])
    personal: list[str] = msgspec.field(default_factory=list)
    asynchronous: Asynchronous | None = None
    profiles: dict[Name, Profile] = msgspec.field(default_factory=dict)


class Privacy(Section):
    """(ε, δ) for the whole run. `mechanism`: none clips only; local_dp noises on the vehicle, central_dp the mean.

    With `secure_aggregation` the aggregator sees sums of at least `min_vehicles` updates only, and central_dp's noise
    comes from the vehicles, in parts. `mask_neighbours` (even) bounds a vehicle's work in a large fleet.
    """

    mechanism: str = "none"
    epsilon: Positive = 1.0
    delta: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 1e-5
    clip_norm: Positive = 1.0
    secure_aggregation: bool = False
    mask_neighbours: Annotated[int, msgspec.Meta(ge=2)] | None = None


class Communication(Section):
    """How an update is made small. What compression leaves out of one update the next begins with, or the share
    `error_feedback` of it. `stages` names the pipeline in full and replaces `compression`, what goes with it and
    `quantization_bits`.
    """

    compression: Literal["none", "top_k", "random_k"] = "top_k"
    compression_ratio: Share = 0.01
    error_feedback: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    quantization_bits: Literal[4, 8, 32] = 8
    encryption: bool = True
    stages: list[Spec] | None = None
    max_update_mib: Positive = 512.0
    second_plane: SecondPlane = SecondPlane()


class Model(Section):
    """The network that a fleet trains."""

    architecture: str = "vit_base"
    pretrained: bool = True
    input_size: Annotated[int, msgspec.Meta(ge=16)] = 384
    patch_size: Annotated[int, msgspec.Meta(ge=1)] = 16


class Rl(Section):
    """Reinforcement learning on the vehicle."""

    algorithm: str = "ppo"
    gamma: Share = 0.99
    clip_epsilon: Positive = 0.2
    value_coef: Positive = 0.5
    entropy_coef: Annotated[float, msgspec.Meta(ge=0)] = 0.01


class Training(Section):
    """Bounds of one round's training on a vehicle."""

    epochs: Annotated[int, msgspec.Meta(ge=1)] = 1
    batch_size: Annotated[int, msgspec.Meta(ge=1)] = 16
    max_samples: Annotated[int, msgspec.Meta(ge=1)] = 512
    min_samples: Annotated[int, msgspec.Meta(ge=1)] = 16
    timeout_s: Positive = 900.0


class FleetConfig(Section):
    """A fleet's YAML file."""

    federation: Federation = Federation()
    privacy: Privacy = Privacy()
    communication: Communication = Communication()
    model: Model = Model()
    rl: Rl = Rl()
    training: Training = Training()
    rollout: Rollout = Rollout()

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the configuration with all its defaults: what a release's manifest names."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    @property
    def stages(self) -> list[Spec]:
        """The update pipeline, in order."""
        chosen = self.communication
        if chosen.stages is not None:
            return chosen.stages
        stages = self._privacy.vehicle_stages()
        if chosen.compression != "none":
            options = {"ratio": chosen.compression_ratio, "error_feedback": chosen.error_feedback}
            stages.append({chosen.compression: options})
        if chosen.quantization_bits != 32:
            stages.append({"quantise": {"bits": chosen.quantization_bits}})
        return [*stages, *self._privacy.mask_stages()]

    @property
    def mask(self) -> SecureMask | None:
        """The stage that hides single updates, if there is one."""
        return next((stage for stage in map(STAGES.build, self.stages) if isinstance(stage, SecureMask)), None)

    @property
    def strategy(self) -> Spec:
        """The strategy with its options, inside what privacy asks for; `server_lr` and `profiles` are the federation's
        where it has them and none are given.
        """
        name, options = split_spec("strategy", self.federation.aggregation)
        if "profiles" in STRATEGIES.options(name):
            profiles = {name: narrowing(profile) for name, profile in self.federation.profiles.items()}
            options = {"profiles": profiles, **options}
        if "server_lr" in STRATEGIES.options(name):
            options = {"server_lr": self.federation.server_lr, **options}
        return self._privacy.server_strategy({name: options})

    @property
    def round_cost(self) -> Release | None:
        """What one round costs of the privacy budget, None for nothing."""
        return self._privacy.round_cost()

    @property
    def _privacy(self) -> Mechanism:
        federation, privacy = self.federation, self.privacy
        return Mechanism(
            name=privacy.mechanism,
            epsilon=privacy.epsilon,
            delta=privacy.delta,
            clip_norm=privacy.clip_norm,
            rounds=federation.num_rounds,
            vehicles=federation.vehicles_per_round,
            masked=privacy.secure_aggregation,
            threshold=federation.min_vehicles,
            neighbours=privacy.mask_neighbours,
        )

    def check(self) -> None:
        """Raises `ConfigurationRefused` for parts that do not exist or cannot work together."""
        if self.privacy.mechanism not in MECHANISMS:
            raise ConfigurationRefused(
                ConfigurationReason.UNKNOWN_NAME,
                f"unknown privacy.mechanism {self.privacy.mechanism!r}; known: {', '.join(MECHANISMS)}",
            )
        stages = [STAGES.build(stage) for stage in self.stages]
        check_order(stages)
        federation = self.federation
        check_combination(
            FleetPlan(
                stages,
                STRATEGIES.build(self.strategy),
                asynchronous=federation.asynchronous is not None,
                min_vehicles=federation.min_vehicles,
                vehicles_per_round=federation.vehicles_per_round,
                buffer_size=federation.asynchronous.buffer_size if federation.asynchronous else 0,
                weighting=federation.weighting,
                profiles=len(federation.profiles),
            )
        )
        weighting(federation.weighting)


def load(path: Path, overrides: Mapping[str, str] | None = None) -> FleetConfig:
    """The configuration in a YAML file, with `{"federation.num_rounds": "3"}` laid over it. Raises
    `ConfigurationRefused`.
    """
    config = load_yaml(path, FleetConfig, overrides)
    config.check()
    return config
