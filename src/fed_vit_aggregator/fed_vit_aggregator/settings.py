"""The service's YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from fed_vit_autorl.deployment.config_file import load_yaml

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class Address(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where something listens."""

    host: str
    port: Port


class AboveSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The aggregator above this region's: its region, its broker, and the folder in which it has enrolled this one."""

    region: str
    broker: Address
    identity: str


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`state`: the service's durable folder. `fleet`: the fleet's training file. `vehicles`: HTTPS with client
    certificates, for model files; `operators`: HTTPS for people and Prometheus. `initial_release` is adopted on the
    first start if one of `trusted_keys` (a file or a folder of *.pub) has signed it. `reference`: a folder of labelled
    samples that candidates are evaluated on, "" for none; at most `reference_samples` of them. `public_host`: the
    name by which vehicles reach `vehicles`, if it is another than its host. `tracker` keeps rounds as experiments, at
    `tracker_address` if it has one. `above`: the aggregator whose region this one is a part of, if there is one.
    `broker_folder`: the broker's access list and process id, where it runs on this machine as the same user, so that
    `fedvit revoke` takes effect there at once.
    """

    state: str
    fleet: str = "config/fleet.yaml"
    broker: Address = Address("127.0.0.1", 8883)
    vehicles: Address = Address("127.0.0.1", 8843)
    operators: Address = Address("127.0.0.1", 8844)
    initial_release: str
    trusted_keys: str
    reference: str = ""
    reference_samples: Annotated[int, msgspec.Meta(ge=1)] = 200
    public_host: str = ""
    tracker: Literal["none", "mlflow", "clearml"] = "none"
    tracker_address: str = ""
    above: AboveSettings | None = None
    broker_folder: str = ""

    @property
    def folder(self) -> Path:
        return Path(self.state)


def load(path: Path) -> Settings:
    """Raises `ConfigurationRefused` that says what to change."""
    return load_yaml(path, Settings)
