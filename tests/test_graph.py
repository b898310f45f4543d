"""The live graph is the one that the topic table describes: publishers, subscribers, types, QoS."""

import pytest

from fed_vit_autorl.edge.topics import TOPICS
from fed_vit_common.qos import PROFILES

RUNNING = {"perception", "policy", "safety", "latency"}
DRIVEN = [topic for topic in TOPICS.values() if topic.name != "/diagnostics"]


def profile(info) -> tuple:
    return info.qos_profile.reliability, info.qos_profile.durability


@pytest.mark.parametrize("topic", DRIVEN, ids=lambda topic: topic.name)
def test_an_edge_is_as_the_table_says(road, topic):
    name = f"/car/{topic.name}"
    wanted = (PROFILES[topic.qos].reliability, PROFILES[topic.qos].durability)
    publishers = [info for info in road.node.get_publishers_info_by_topic(name) if info.node_name in RUNNING]
    subscribers = [info for info in road.node.get_subscriptions_info_by_topic(name) if info.node_name in RUNNING]
    assert {info.node_name for info in publishers} == RUNNING & set(topic.publisher.split(", "))
    assert {info.node_name for info in subscribers} == RUNNING & set(topic.subscribers)
    for info in publishers + subscribers:
        assert profile(info) == wanted
        assert info.topic_type == topic.type.replace("/", "/msg/")


def test_every_node_tells_of_its_health(road):
    infos = road.node.get_publishers_info_by_topic("/diagnostics")
    assert {info.node_name for info in infos} == RUNNING
