"""Sections of a fleet's YAML file about delivery: of releases to the vehicles, and of large updates from them."""

from __future__ import annotations

from typing import Annotated

import msgspec

from fed_vit_autorl.deployment.config_file import Section


class Rollout(Section):
    """How a release reaches the fleet: `canary_share` of the vehicles try it first (1.0: all at once).

    It is widened to all once `min_reports` of them have tested it beside the release before on their own experience and
    its mAP50 has held; it is rolled back when it lost more than the share `federation.drift_gate`, or when there are
    not so many reports `patience_s` after it came out. Afterwards, too, the whole fleet's reports roll it back.
    """

    canary_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    min_reports: Annotated[int, msgspec.Meta(ge=1)] = 3
    patience_s: Annotated[float, msgspec.Meta(gt=0)] = 3600.0


class S3(Section):
    """An S3-compatible store; credentials come from where boto3 looks for them. `endpoint` "" is Amazon's own."""

    bucket: Annotated[str, msgspec.Meta(min_length=3, max_length=63)]
    endpoint: str = ""
    region: str = "us-east-1"
    prefix: str = "fed-vit-autorl"


class SecondPlane(Section):
    """The way beside MQTT: updates of `from_mib` and more go by HTTPS PUT, releases come by GET. To and from a folder
    of the aggregator, at most `mib_per_s` from a vehicle, or to and from `s3`.
    """

    from_mib: Annotated[float, msgspec.Meta(ge=0)] = 16.0
    mib_per_s: Annotated[float, msgspec.Meta(gt=0)] = 64.0
    s3: S3 | None = None
