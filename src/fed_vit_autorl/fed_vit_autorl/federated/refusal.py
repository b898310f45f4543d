"""Why a configuration or an update is refused."""

from __future__ import annotations

from enum import StrEnum

from fed_vit_autorl.refusal import Refused


class ConfigurationReason(StrEnum):
    """What is wrong with a fleet's configuration."""

    UNKNOWN_NAME = "unknown_name"
    UNKNOWN_OPTION = "unknown_option"
    BAD_VALUE = "bad_value"
    STAGE_ORDER = "stage_order"
    IMPOSSIBLE_COMBINATION = "impossible_combination"


class ConfigurationRefused(Refused):
    """The configuration cannot work; `reason` is a `ConfigurationReason` and the text says what to change."""


class UpdateReason(StrEnum):
    """What is wrong with an update that came from the network (or would be sent)."""

    TOO_LARGE = "too_large"
    BAD_MAGIC = "bad_magic"
    UNSUPPORTED_VERSION = "unsupported_version"
    MALFORMED_HEADER = "malformed_header"
    MALFORMED_TENSORS = "malformed_tensors"
    WRONG_LAYOUT = "wrong_layout"
    WRONG_STAGES = "wrong_stages"
    MALFORMED_STAGE = "malformed_stage"
    NOT_FINITE = "not_finite"
    NO_SESSION = "no_session"
    NO_WEIGHT = "no_weight"


class UpdateRefused(Refused):
    """The update is not used; `reason` is an `UpdateReason`."""


class AggregationReason(StrEnum):
    """Why updates cannot become a model."""

    NO_UPDATES = "no_updates"
    TOO_FEW_UPDATES = "too_few_updates"
    BAD_WEIGHT = "bad_weight"
    WRONG_LAYOUT = "wrong_layout"
    MISSING_METRIC = "missing_metric"
    WRONG_STATE = "wrong_state"
    DUPLICATE = "duplicate"
    TOO_MANY_UPDATES = "too_many_updates"
    NOT_READABLE = "not_readable"


class AggregationRefused(Refused):
    """The aggregation stops and the global model stays; `reason` is an `AggregationReason`."""
