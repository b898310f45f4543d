"""mosquitto for a fleet: its configuration (TLS with client certificates, ACL, bounds, persistence) and its process."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fed_vit_autorl.deployment.pki import AGGREGATOR, Authority
from fed_vit_autorl.deployment.processes import dying_with_parent
from fed_vit_autorl.federated.protocol.topics import Topics, name
from fed_vit_autorl.federated.protocol.wire import CHUNK_BYTES
from fed_vit_autorl.files import write_file

MAX_PACKET_BYTES = CHUNK_BYTES + 2048
START_TIMEOUT_S = 15.0
PID_FILE = "mosquitto.pid"
SERVER_PORTS, TRIED_PORTS = range(20000, 32768), 100  # below the kernel's ephemeral ports


def access_list(region: str, revoked: Sequence[str] = ()) -> str:
    """ACL: the certificate's name is the user; a vehicle writes below its own topic only and reads its own downlink
    and the model pointer. One that is `revoked` while it is connected may do neither: mosquitto checks certificates
    when a connection begins, and access lists at every message.
    """
    own = Topics(region, "%u")
    return "\n".join(
        (
            f"user {AGGREGATOR}",
            f"topic readwrite {Topics(region).model.rsplit('/', 2)[0]}/#",
            "",
            *(f"user {vehicle}\ntopic deny #\n" for vehicle in revoked),
            f"pattern write {own.uplink}",
            f"pattern write {own.status}",
            f"pattern read {own.downlink}",
            f"pattern read {own.model}",
            "",
        )
    )


def configuration(
    folder: Path, region: str, host: str, port: int, ca: Path, crl: Path, certificate: Path, key: Path
) -> str:
    """mosquitto.conf. Queues are long because credits, not the broker, bound what is under way."""
    return "\n".join(
        (
            f"listener {port} {host}",
            f"cafile {ca}",
            f"crlfile {crl}",
            f"certfile {certificate}",
            f"keyfile {key}",
            "tls_version tlsv1.3",
            "require_certificate true",
            "use_identity_as_username true",
            f"acl_file {folder / 'acl'}",
            f"max_packet_size {MAX_PACKET_BYTES}",
            "max_inflight_messages 64",
            "max_queued_messages 20000",
            "max_queued_bytes 268435456",
            "persistent_client_expiration 7d",
            "persistence true",
            f"persistence_location {folder}/",
            "autosave_interval 30",
            f"pid_file {folder / PID_FILE}",
            "log_dest stderr",
            "log_type error",
            "log_type warning",
            "",
        )
    )


@dataclass
class Broker:
    """A mosquitto process of its own with its folder; start, stop and kill -9 it as often as you like."""

    folder: Path
    region: str
    authority: Authority
    host: str = "127.0.0.1"
    port: int = 0

    def __post_init__(self) -> None:
        self.folder = Path(self.folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port(self.host)
        self._process: subprocess.Popen | None = None
        certificate, key = self.authority.issue_server(
            self.folder, "broker", sorted({self.host, "localhost", "127.0.0.1"})
        )
        authority = self.authority.folder.resolve()
        text = configuration(
            self.folder,
            name(self.region),
            self.host,
            self.port,
            authority / "ca.crt",
            authority / "crl.pem",
            certificate,
            key,
        )
        if os.geteuid() == 0:
            text += "user root\n"  # else it becomes `mosquitto`, who can't read the keys here
        enforce(self.folder, self.region, self.authority)
        self.config_path = self.folder / "mosquitto.conf"
        self.config_path.write_text(text)

    @property
    def process(self) -> subprocess.Popen | None:
        return self._process

    def start(self) -> None:
        """Returns once it listens; raises RuntimeError with its last words if it doesn't."""
        log = open(self.folder / "mosquitto.log", "ab")  # noqa: SIM115 - the child's
        with log:
            self._process = subprocess.Popen(
                dying_with_parent([program(), "-c", str(self.config_path)]),
                stdout=log,
                stderr=log,
                process_group=0,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                probe.settimeout(0.2)
                if probe.connect_ex((self.host, self.port)) == 0:
                    return
            time.sleep(0.02)
        self.stop()
        last = (self.folder / "mosquitto.log").read_text(errors="replace")[-500:]
        raise RuntimeError(f"mosquitto doesn't listen on {self.host}:{self.port}: {last}")

    def stop(self, kill: bool = False) -> None:
        """Ends the process, with SIGKILL if `kill`."""
        if self._process is None:
            return
        self._process.kill() if kill else self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def enforce(folder: Path, region: str, authority: Authority) -> bool:
    """Writes who may do what into a broker's `folder` and has the broker read it and the revocation list again; False
    if no broker of this folder runs on this machine as our own user.
    """
    write_file(folder / "acl", access_list(region, authority.revoked()).encode(), 0o600)
    try:
        pid = int((folder / PID_FILE).read_text())
        if Path(f"/proc/{pid}/comm").read_text().strip() != "mosquitto":
            return False  # what ended by SIGKILL leaves its file behind
        os.kill(pid, signal.SIGHUP)
    except (FileNotFoundError, ProcessLookupError, PermissionError, ValueError):
        return False
    return True


def program() -> str:
    """Path of mosquitto, which Debian puts where a user's PATH doesn't look; raises FileNotFoundError that says what
    to do.
    """
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise FileNotFoundError("mosquitto isn't installed: apt-get install mosquitto")
    return found


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that is free now, and that no outgoing connection takes before its server does; raises OSError."""
    for port in random.sample(SERVER_PORTS, TRIED_PORTS):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((host, port))
            return port
    raise OSError(f"no port is free on {host}, if that is an address of this machine at all")
