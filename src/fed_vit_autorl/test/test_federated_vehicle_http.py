"""A vehicle's HTTPS against a real server on loopback, and how it spaces its tries."""

import random
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fed_vit_autorl.federated.vehicle.backoff import LONGEST_ASKED_S, Backoff, TryLater, asked_wait_s
from fed_vit_autorl.federated.vehicle.https import BLOCK_BYTES, VehicleHttp


class Server(ThreadingHTTPServer):
    """Answers as the path says: `/<status>/<bytes of content>`; counts connections."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.connections = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def get_request(self):
        self.connections += 1
        return super().get_request()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one segment per answer, or each waits for a delayed ACK

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        status, size = map(int, self.path.split("/")[1:3])
        self.send_response(status)
        self.send_header("Content-Length", str(size))
        if status in (429, 503):
            self.send_header("Retry-After", "7")
        if status == 307:
            self.send_header("Location", f"{self.server.url}/200/5")
        self.end_headers()
        try:
            self.wfile.write(b"x" * size)
        except ConnectionError:
            self.close_connection = True

    do_PUT = do_GET

    def log_message(self, *arguments: object) -> None:
        """Silent."""


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def http():
    client = VehicleHttp(ssl.create_default_context())
    yield client
    client.close()


def test_what_is_not_there_costs_no_connection(server, http):
    """A vehicle asks for the next root, which is hardly ever there, at every look. httpx keeps 100 connections at most:
    one that an answer left open each time would end all looking after a hundred.
    """
    for _ in range(150):
        assert http.read(f"{server.url}/404/16") == (404, b"x" * 16)
        assert http.read(f"{server.url}/200/16") == (200, b"x" * 16)
    assert server.connections == 1


def test_no_answer_but_a_block_closes_the_connection(server, http, tmp_path):
    http.fetch(f"{server.url}/200/5", tmp_path / "a", 5)
    http.fetch(f"{server.url}/416/30", tmp_path / "a", 5)
    assert http.put(f"{server.url}/204/0", b"block", ours=True) == 204
    with pytest.raises(TryLater):
        http.read(f"{server.url}/503/30")
    assert server.connections == 1


def test_a_file_elsewhere_is_fetched_from_there(server, http, tmp_path):
    http.fetch(f"{server.url}/307/30", tmp_path / "a", 5)
    assert (tmp_path / "a").read_bytes() == b"xxxxx"
    assert server.connections == 2  # one as a vehicle, one as anybody
    with pytest.raises(OSError, match="larger than the 4 bytes"):
        http.fetch(f"{server.url}/200/5", tmp_path / "b", 4)


def test_a_large_answer_where_a_small_one_belongs_is_not_read_to_its_end(server, http):
    status, content = http.read(f"{server.url}/200/{64 << 20}")
    assert (status, len(content)) == (200, BLOCK_BYTES)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_says_for_how_long(server, http, tmp_path, status):
    url = f"{server.url}/{status}/4"
    for ask in (
        lambda: http.read(url),
        lambda: http.fetch(url, tmp_path / "file", 100),
        lambda: http.put(url, b"block", ours=True),
    ):
        with pytest.raises(TryLater) as busy:
            ask()
        assert busy.value.after_s == 7.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("", 0), ("120", 120), ("99999999", LONGEST_ASKED_S), ("-1", 0), ("²", 0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0)],
)
def test_retry_after_in_seconds_is_honoured(header, seconds):
    assert asked_wait_s(header) == seconds


def test_waits_double_to_a_limit_and_start_anew_after_a_success():
    backoff = Backoff(5.0, 60.0, uniform=lambda low, high: high)
    assert [backoff.wait_s() for _ in range(6)] == [5, 10, 20, 40, 60, 60]
    assert backoff.wait_s(30.0) == 90
    backoff.reset()
    assert backoff.wait_s() == 5


def test_vehicles_cut_off_in_the_same_second_do_not_come_back_in_step():
    """Full jitter: of 1,000 first waits below 5 s, each tenth of that holds about 100 (deviation 9.5)."""
    uniform = random.Random(1).uniform
    waits = [Backoff(5.0, 60.0, uniform).wait_s() for _ in range(1000)]
    for tenth in range(10):
        assert 50 < sum(tenth / 2 <= wait < (tenth + 1) / 2 for wait in waits) < 150
