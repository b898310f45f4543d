"""The container files refer to what is there and follow the rules; no engine is needed to know that."""

import importlib.util
import os
import re
import shlex
import socket
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from dockerfile_parse import DockerfileParser

from fed_vit_autorl.deployment import broker

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SECRET = re.compile(r"password|secret|token|api_?key|BEGIN .*PRIVATE KEY", re.IGNORECASE)


def instructions(path: Path) -> list[dict]:
    return DockerfileParser(fileobj=path.open("rb")).structure


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_what_is_copied_exists_and_passes_the_ignore_file(path):
    rules = (path.parent / f"{path.name}.dockerignore").read_text().split()
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = [item["value"].split() for item in instructions(path) if item["instruction"] == "COPY"]
    sources = [source for words in copied if not words[0].startswith("--from") for source in words[:-1]]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source.split("/")[0] in allowed


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_what_is_installed_was_copied_before(path):
    copied: list[str] = []
    for item in instructions(path):
        if item["instruction"] == "FROM":
            copied = []
        elif item["instruction"] == "COPY" and not item["value"].startswith("--from"):
            copied += item["value"].split()[:-1]
        elif item["instruction"] == "RUN":
            for word in shlex.split(item["value"]):
                name = word.removeprefix("./").split("[")[0]
                if name.startswith(("requirements/", "src/")):
                    assert (ROOT / name).exists(), name
                    assert any(name == source or name.startswith(f"{source}/") for source in copied), name


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_ends_without_privileges_and_with_a_health_check(path):
    last = instructions(path)
    start = max(index for index, item in enumerate(last) if item["instruction"] == "FROM")
    final = {item["instruction"]: item["value"] for item in last[start:]}
    assert final["USER"] == "fedvit"
    assert "HEALTHCHECK" in final
    assert not {"ADD"} & {item["instruction"] for item in last}


@pytest.mark.parametrize("path", [*DOCKERFILES, DOCKER / "compose.yaml"], ids=lambda path: path.name)
def test_no_secret_is_written_down(path):
    assert not SECRET.search(path.read_text())


def test_services_are_built_from_what_exists_and_run_as_a_user():
    for name, service in COMPOSE["services"].items():
        if "build" in service:
            assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        else:
            assert service["user"] == "10001:10001", name
            assert ":" in service["image"], name
        assert service["cap_drop"] == ["ALL"]
        assert "healthcheck" in service or name == "aggregator"
        assert set(service.get("depends_on", {})) <= set(COMPOSE["services"])


def test_volumes_are_declared_or_files_that_exist():
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (DOCKER / source).is_file(), volume


def test_the_ports_are_those_of_the_aggregators_settings():
    settings = yaml.safe_load((DOCKER / "aggregator.yaml").read_text())
    published = COMPOSE["services"]["aggregator"]["ports"]
    assert {f"{settings[plane]['port']}:{settings[plane]['port']}" for plane in ("vehicles", "operators")} == set(
        published
    )
    assert COMPOSE["services"]["broker"]["ports"] == [f"{settings['broker']['port']}:{settings['broker']['port']}"]
    assert settings["broker"]["host"] in COMPOSE["services"]


def listens(command: list[str], port: int) -> bool:
    """Whether the program accepts connections on the port within ten seconds."""
    process = subprocess.Popen(command)
    try:
        end = time.monotonic() + 10
        while time.monotonic() < end and process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return True
            time.sleep(0.05)
        return False
    finally:
        process.kill()
        process.wait()


def test_mosquitto_starts_on_what_the_prepare_service_writes(tmp_path):
    spec = importlib.util.spec_from_file_location("prepare_broker", DOCKER / "prepare_broker.py")
    prepare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(prepare)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = yaml.safe_load((DOCKER / "aggregator.yaml").read_text())
    settings |= {"state": str(tmp_path / "state"), "fleet": str(ROOT / "config/fleet.yaml")}
    settings["broker"]["port"] = port
    (tmp_path / "aggregator.yaml").write_text(yaml.safe_dump(settings))
    folder = tmp_path / "broker"
    folder.mkdir()
    prepare.main(tmp_path / "aggregator.yaml", folder)
    assert {"acl", "broker.crt", "broker.key", "ca.crt", "crl.pem", "mosquitto.conf"} == {
        item.name for item in folder.iterdir()
    }
    if os.geteuid() == 0:  # mosquitto would become another user, whom the container's user setting spares it
        with (folder / "mosquitto.conf").open("a") as configuration:
            configuration.write("user root\n")
    assert listens([broker.program(), "-c", str(folder / "mosquitto.conf")], port)
