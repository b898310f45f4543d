"""The fleet's page in a real browser: what it shows, and what an operator can do there. Needs Chromium."""

import json
import os
import shutil
import subprocess
import time

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


class Browser:
    """Headless Chromium over its debugging pipe (file descriptors 3 and 4, messages end with NUL)."""

    def __init__(self, folder):
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--ignore-certificate-errors",
        ]
        command = [CHROMIUM, *options, "--remote-debugging-pipe", f"--user-data-dir={folder}", "about:blank"]
        script = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "chromium", *command], pass_fds=(to_browser, from_browser), stderr=subprocess.DEVNULL
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer, self._number, self._session = b"", 0, None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def call(self, method, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._buffer:
                part = os.read(self._read, 1 << 16)
                assert part, "Chromium has gone"
                self._buffer += part
            answer, _, self._buffer = self._buffer.partition(b"\0")
            answer = json.loads(answer)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def open(self, url):
        self.call("Page.navigate", url=url)

    def evaluate(self, script):
        """The value of a JavaScript expression on the page."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def until(self, script, limit_s=120.0):
        end = time.monotonic() + limit_s
        while not self.evaluate(script):
            assert time.monotonic() < end, self.evaluate("document.body.innerText")
            time.sleep(0.05)

    def close(self):
        self._process.kill()
        self._process.wait()
        os.close(self._read)
        os.close(self._write)


@pytest.fixture
def browser(tmp_path):
    browser = Browser(tmp_path / "chromium")
    yield browser
    browser.close()


def text(name: str) -> str:
    return f"document.getElementById('{name}').innerText"


def log_in(browser: Browser, token: str) -> None:
    browser.evaluate(f"document.getElementById('token').value = {json.dumps(token)}")
    browser.evaluate("document.querySelector('#login button').click()")


def test_an_operator_watches_a_round_pauses_and_rolls_back(make_fleet, browser):
    fleet = make_fleet(rounds=1)
    fleet.cloud.start()
    browser.open(fleet.cloud.operators_url)
    browser.until("document.getElementById('releases').rows.length == 2")
    for vehicle in ("v1", "v2"):
        fleet.start_client(vehicle)
    browser.until(f"{text('rounds')}.includes('released')")
    browser.until(f"{text('vehicles')}.includes('v1') && {text('vehicles')}.includes('v2')")
    assert browser.evaluate("document.querySelectorAll('#releases button').length") == 0

    log_in(browser, "wrong")
    browser.until(f"{text('login-error')} == 'wrong token'")
    log_in(browser, fleet.cloud.operator_token)
    browser.until("!document.getElementById('actions').hidden")

    browser.evaluate("document.getElementById('pause').click()")
    browser.until(f"{text('cards')}.includes('paused')")
    browser.evaluate("document.getElementById('start').click()")
    browser.until(f"!{text('cards')}.includes('paused')")

    browser.evaluate(
        "window.confirm = () => true; document.querySelector('#releases button[data-version=\"1\"]').click()"
    )
    browser.until(f"{text('releases')}.includes('rollback')")
    assert "operator" in browser.evaluate(text("releases"))
    fleet.wait(lambda: all(client.releases.version == 3 for client in fleet.clients.values()))
    for name, tensor in fleet.weights(1).items():
        assert (fleet.weights(3)[name] == tensor).all()
