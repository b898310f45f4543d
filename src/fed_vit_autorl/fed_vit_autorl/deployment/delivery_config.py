"""Sections of a fleet's YAML file about delivery: how releases reach the vehicles."""

from __future__ import annotations

from typing import Annotated

import msgspec


class Rollout(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a release reaches the fleet: `canary_share` of the vehicles try it first (1.0: all at once).

    It is widened to all once `min_reports` of them have tested it beside the release before on their own experience and
    its mAP50 has held; it is rolled back when it lost more than the share `federation.drift_gate`, or when there are
    not so many reports `patience_s` after it came out. Afterwards, too, the whole fleet's reports roll it back.
    """

    canary_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    min_reports: Annotated[int, msgspec.Meta(ge=1)] = 3
    patience_s: Annotated[float, msgspec.Meta(gt=0)] = 3600.0
