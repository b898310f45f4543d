"""The port of a server is one that no outgoing connection takes before it is started."""

import socket

import pytest

from fed_vit_autorl.deployment.broker import free_port

LINUX_EPHEMERAL = range(32768, 61000)  # net.ipv4.ip_local_port_range by default


def test_a_free_port_can_be_listened_on_and_is_none_that_connections_take():
    port = free_port()
    assert port not in LINUX_EPHEMERAL
    with socket.create_server(("127.0.0.1", port)):
        others = {free_port() for _ in range(300)}
    assert port not in others


def test_an_address_of_another_machine_has_no_port():
    with pytest.raises(OSError, match=r"192\.0\.2\.1"):  # RFC 5737: of nobody
        free_port("192.0.2.1")
