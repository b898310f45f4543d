"""The bench of the node graph, on the pass-through graph alone: its processes answer real messages."""

from fed_vit_autorl.edge.topics import TOPICS
from fed_vit_bringup import bench_graph
from fed_vit_bringup.bench_graph import NAMESPACE, measure, relay_graph
from fed_vit_bringup.graph import Arguments, vehicle_graph
from fed_vit_bringup.relay_node import ROLES


def test_the_pass_through_graph_is_the_driving_chain_of_the_table():
    for role, (source, target, _) in ROLES.items():
        assert role in TOPICS[source].subscribers
        assert TOPICS[target].publisher == role


def test_frames_go_through_and_are_accounted_for(monkeypatch):
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    monkeypatch.setattr(bench_graph, "WARM_UP_FRAMES", 5)
    result = measure(relay_graph(vehicle_graph(Arguments(namespace=NAMESPACE, learning=False))), seconds=1.0)
    assert result["frames"] == 20
    assert result["drops"] < 20
    assert 0 < result["p50_ms"] <= result["p95_ms"] <= result["p99_ms"] <= result["max_ms"]
