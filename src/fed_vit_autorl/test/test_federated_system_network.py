"""The simulated network against formulas worked out by hand, and the proxy between real sockets."""

import math
import socket
import threading
import time

import numpy as np
import pytest

from fed_vit_autorl.simulation.network import (
    Link,
    NetworkSimulator,
    free_space,
    loss_probability,
    two_ray_ground,
)
from fed_vit_autorl.simulation.network_proxy import NetworkProxy


def test_free_space_loses_6_db_when_the_distance_doubles_and_67_86_db_over_100_m():
    """20 log10(4π · 100 m / 0.050812 m) = 87.86 dB; 23 + 2 · 3 - 87.86 = -58.86 dBm."""
    near, far = free_space(np.array([100.0, 200.0]), 1.5, 6.0)
    assert near == pytest.approx(-58.86, abs=0.01)
    assert near - far == pytest.approx(20 * math.log10(2))


def test_beyond_the_crossover_the_ground_ray_makes_it_12_db_per_doubling():
    """Crossover 4π · 1.5 · 6 / 0.050812 = 2225.8 m; at 3000 m: 29 + 20 log10(9) - 40 log10(3000) = -91.00 dBm."""
    power = two_ray_ground(np.array([2000.0, 3000.0, 6000.0]), 1.5, 6.0)
    assert power[0] == free_space(np.array([2000.0]), 1.5, 6.0)[0]
    assert power[1] == pytest.approx(-91.00, abs=0.01)
    assert power[1] - power[2] == pytest.approx(40 * math.log10(2))


def test_rayleigh_fading_loses_63_percent_at_the_sensitivity_and_10_percent_10_db_above():
    lost = loss_probability(np.array([-85.0, -75.0]), np.array([-85.0, -85.0]))
    np.testing.assert_allclose(lost, [1 - math.exp(-1), 1 - math.exp(-0.1)])


def test_vehicles_move_and_their_links_with_them():
    network = NetworkSimulator(vehicles=10, seed=3)
    bandwidths = {network.get_bandwidth(0, time_s) for time_s in np.arange(0, 60, 2.0)}
    assert len(bandwidths) > 1
    for time_s in range(0, 60, 5):
        link = network.link(0, time_s)
        assert 0 <= link.loss < 1
        assert network.get_latency(0, time_s) >= 0.002 * link.hops


def test_the_same_question_has_the_same_answer():
    one, other = NetworkSimulator(seed=5), NetworkSimulator(seed=5)
    asked = [(vehicle, time_s, packet) for vehicle in (0, 7) for time_s in (0.0, 31.5) for packet in range(20)]
    assert [one.packet_lost(*question) for question in asked] == [other.packet_lost(*question) for question in asked]


def test_lost_packets_come_as_often_as_the_links_loss_says():
    network = NetworkSimulator(vehicles=5, seed=1)
    time_s = next(t for t in range(300) if network.link(2, t).loss > 0.03)
    lost = np.mean([network.packet_lost(2, time_s, packet) for packet in range(1000)])
    expected = network.link(2, time_s).loss
    assert lost == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 1000))


def test_an_unknown_model_is_named_with_those_there_are():
    with pytest.raises(ValueError, match="two_ray_ground"):
        NetworkSimulator(propagation_model="two_rays")


@pytest.fixture
def sink():
    """A server that keeps what it is sent, per connection."""
    server = socket.create_server(("127.0.0.1", 0))
    received = []

    def serve():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            received.append(bytearray())
            threading.Thread(target=keep, args=(connection, received[-1]), daemon=True).start()

    def keep(connection, into):
        with connection:
            try:
                while part := connection.recv(65536):
                    into += part
                connection.sendall(b"bye")
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1], received
    server.close()


def until(condition, limit_s=30.0):
    """Waits for another thread."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.005)


def test_bytes_arrive_whole_and_in_order_over_a_lossy_link(sink):
    port, received = sink
    content = np.random.default_rng(0).bytes(3_000_000)
    with NetworkProxy("127.0.0.1", port, lambda seconds: Link(0.05, 0.005, 2e8, 1)) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port)) as client:
            client.sendall(content)
        until(lambda: received and len(received[0]) >= len(content))
        assert bytes(received[0]) == content


def test_what_is_under_way_arrives_before_the_end(sink):
    port, received = sink
    with NetworkProxy("127.0.0.1", port, lambda seconds: Link(0.0, 0.2, 1e9, 1)) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port)) as client:
            client.sendall(b"last words")
        until(lambda: received and received[0] == b"last words")


def test_a_cut_ends_the_connection_and_the_next_one_works(sink):
    port, received = sink
    with NetworkProxy("127.0.0.1", port, lambda seconds: Link(0.0, 0.0, 1e9, 1)) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
            client.sendall(b"one")
            until(lambda: received and received[0] == b"one")
            proxy.cut()
            assert client.recv(10) == b""
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
            client.sendall(b"two")
            until(lambda: len(received) == 2 and received[1] == b"two")
