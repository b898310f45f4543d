"""The lifecycle base: configuration typos are refused with a suggestion, and a wrong transition does not kill."""

from dataclasses import dataclass
from enum import StrEnum

import pytest
import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.parameter import Parameter

from fed_vit_common.node import InputRefused, VehicleNode
from fed_vit_common.parameters import Bounds, ParameterRefused, parameter, read


class Reason(StrEnum):
    TOO_ODD = "too_odd"


@dataclass(frozen=True)
class Parameters:
    rate_hz: float = parameter(20.0, "how often [Hz]", Bounds(1.0, 100.0))
    seeds: list = parameter([1, 2], "seeds")


class Probe(VehicleNode):
    PARAMETERS = Parameters


@pytest.fixture
def context():
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=87)
    yield context
    rclpy.shutdown(context=context)


@pytest.fixture
def make(context):
    nodes = []

    def build(**overrides):
        values = [Parameter(name, value=value) for name, value in overrides.items()]
        nodes.append(Probe("probe", context=context, parameter_overrides=values))
        return nodes[-1]

    yield build
    for node in nodes:
        node.destroy_node()


def test_defaults_and_overrides_arrive_as_one_object(make):
    assert read(make(rate_hz=5.0), Parameters) == Parameters(rate_hz=5.0, seeds=[1, 2])


def test_a_typo_is_refused_with_what_was_meant(make):
    with pytest.raises(ParameterRefused, match="did you mean 'rate_hz'"):
        read(make(rate_hs=5.0), Parameters)


def test_a_value_out_of_bounds_is_refused(make):
    with pytest.raises(rclpy.exceptions.InvalidParameterValueException):
        make(rate_hz=1000.0)


def test_a_refused_input_is_counted_and_survived(make):
    def refuse():
        raise InputRefused(Reason.TOO_ODD)

    node = make()
    assert node.attempt(refuse) is None
    assert node.attempt(lambda: 7) == 7
    assert node.refusals == {"too_odd": 1}


def test_an_invalid_transition_is_answered_not_fatal(make):
    node = make()
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_ACTIVATE))
    assert not node._service_change_state.callback(request, ChangeState.Response()).success
    request.transition.id = Transition.TRANSITION_CONFIGURE
    assert node._service_change_state.callback(request, ChangeState.Response()).success
