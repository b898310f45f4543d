"""The live graph is the one that the topic table describes: publishers, subscribers, types, QoS."""

import pytest

from fed_vit_autorl.edge.topics import TOPICS
from fed_vit_common.qos import PROFILES

RUNNING = {"perception", "policy", "safety", "latency"}
DRIVEN = [topic for topic in TOPICS.values() if topic.name != "/diagnostics"]


def ends_at(look, name: str, wanted: set[str], road) -> list:
    """The topic's ends in running nodes, once discovery has found those wanted: it takes the time it takes."""

    def found() -> list:
        return [info for info in look(name) if info.node_name in RUNNING]

    road.until(lambda: {info.node_name for info in found()} == wanted)
    ends = found()
    assert {info.node_name for info in ends} == wanted
    return ends


@pytest.mark.parametrize("topic", DRIVEN, ids=lambda topic: topic.name)
def test_an_edge_is_as_the_table_says(road, topic):
    name = f"/car/{topic.name}"
    publishers = ends_at(road.node.get_publishers_info_by_topic, name, RUNNING & set(topic.publisher.split(", ")), road)
    subscribers = ends_at(road.node.get_subscriptions_info_by_topic, name, RUNNING & set(topic.subscribers), road)
    profile = PROFILES[topic.qos]
    for info in publishers + subscribers:
        assert info.qos_profile.reliability == profile.reliability
        assert info.qos_profile.durability == profile.durability
        assert info.topic_type == topic.type.replace("/", "/msg/")


def test_every_node_tells_of_its_health(road):
    ends_at(road.node.get_publishers_info_by_topic, "/diagnostics", RUNNING, road)
