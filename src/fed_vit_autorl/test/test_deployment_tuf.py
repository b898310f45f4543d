"""What a vehicle takes from the fleet's metadata, and the attacks on it that TUF's specification names (1.5)."""

import shutil
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tuf.ngclient._internal import trusted_metadata_set

from fed_vit_autorl.deployment import release, tuf_repository
from fed_vit_autorl.deployment.identity import Identity
from fed_vit_autorl.deployment.offers import EVERYONE, Channel, Offer, cohort_of
from fed_vit_autorl.deployment.pki import Authority, enrol_locally
from fed_vit_autorl.deployment.release import ReleaseRefused
from fed_vit_autorl.deployment.tuf_client import ReleaseFeed, signers
from fed_vit_autorl.deployment.tuf_repository import ReleaseRepository, create
from fed_vit_autorl.federated.protocol.wire import Pointer
from fed_vit_autorl.federated.vehicle.backoff import TryLater
from fed_vit_autorl.federated.vehicle.outbox import Outbox
from fed_vit_autorl.federated.vehicle.releases import (
    EXPIRED_RECHECK_S,
    FIRST_RETRY_S,
    LAST_RETRY_S,
    RECHECK_S,
    ReleaseShelf,
    untested,
)

URL = "https://cloud/v1/"


def keys() -> dict[str, Ed25519PrivateKey]:
    return {role: Ed25519PrivateKey.generate() for role in ("root", "targets", "snapshot", "timestamp")}


def offer(version: int, cohort: int = EVERYONE) -> Offer:
    return Offer(version, f"{version:064x}", 100, cohort)


class Cloud:
    """A repository, and whatever folder the vehicles are shown in its place."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.keys = folder, keys()
        self.repository = create(folder / "metadata", self.keys)
        self.shown = self.repository.folder
        (folder / "root.json").write_bytes(self.repository.root_bytes())

    def publish(self, version: int) -> None:
        self.repository.offer({Channel.FLEET: offer(version)})

    def copy(self, name: str) -> Path:
        return Path(shutil.copytree(self.repository.folder, self.folder / name))

    def read(self, url: str):
        path = self.shown / url.rsplit("/", 1)[1]
        return (200, path.read_bytes()) if path.exists() else (404, b"")

    def vehicle(self, name: str = "v1") -> ReleaseFeed:
        return ReleaseFeed(self.folder / name, self.folder / "root.json", name, self.read)


@pytest.fixture
def cloud(tmp_path):
    return Cloud(tmp_path)


def refusal(feed: ReleaseFeed) -> str:
    with pytest.raises(ReleaseRefused) as refused:
        feed.look(URL)
    return refused.value.reason


def test_a_vehicle_takes_what_is_on_offer_and_nothing_before_there_is(cloud):
    feed = cloud.vehicle()
    cloud.repository.offer({})
    assert feed.look(URL) is None
    cloud.publish(1)
    assert feed.look(URL) == offer(1)
    assert cloud.repository.offer({Channel.FLEET: offer(1)}) is False


def test_a_canary_is_for_exactly_as_many_vehicles_as_were_asked_for(cloud):
    names = [f"v{index}" for index in range(40)]
    cohort = cohort_of(names, 2, 4)
    cloud.repository.offer({Channel.FLEET: offer(1), Channel.CANARY: offer(2, cohort)})
    got = [cloud.vehicle(name).look(URL).version for name in names]
    assert sorted(got) == [1] * 36 + [2] * 4
    assert cohort_of(names, 2, 40) == EVERYONE
    # Another release is tried by others.
    assert {name for name in names if offer(2, cohort).takes(name)} != {
        name for name in names if offer(3, cohort_of(names, 3, 4)).takes(name)
    }


def test_older_metadata_is_refused_after_a_restart_too(cloud):
    cloud.publish(1)
    old = cloud.copy("old")
    cloud.publish(2)
    assert cloud.vehicle().look(URL) == offer(2)
    cloud.shown = old
    assert refusal(cloud.vehicle()) == "metadata_rolled_back"
    cloud.shown = cloud.repository.folder
    assert cloud.vehicle().look(URL) == offer(2)


def test_a_new_timestamp_with_an_old_snapshot_is_refused(cloud):
    cloud.publish(1)
    mixed = cloud.copy("mixed")
    cloud.publish(2)
    shutil.copy(cloud.repository.folder / "timestamp.json", mixed)
    number = cloud.repository.version
    (mixed / f"{number}.snapshot.json").write_bytes((mixed / f"{number - 1}.snapshot.json").read_bytes())
    cloud.shown = mixed
    assert refusal(cloud.vehicle()) == "metadata_rolled_back"


def test_metadata_that_nobody_renews_is_refused_when_its_life_is_over(cloud, monkeypatch):
    monkeypatch.setitem(tuf_repository.LIFETIMES, "timestamp", timedelta(seconds=-1))
    cloud.publish(1)
    assert refusal(cloud.vehicle()) == "metadata_expired"
    monkeypatch.setitem(tuf_repository.LIFETIMES, "timestamp", timedelta(days=1))
    assert cloud.repository.renew()
    assert cloud.vehicle().look(URL) == offer(1)


def test_only_what_is_half_way_through_its_life_is_renewed(cloud):
    cloud.publish(1)
    before = cloud.repository.expiries()
    assert not cloud.repository.renew()
    assert cloud.repository.renew(datetime.now(UTC) + timedelta(hours=13))
    assert cloud.repository.timestamp().version == 2
    assert cloud.repository.expiries()["snapshot"] == before["snapshot"]
    assert cloud.repository.renew(datetime.now(UTC) + timedelta(days=50))
    assert cloud.repository.targets().version == 2
    assert cloud.vehicle().look(URL) == offer(1)


def test_another_fleets_metadata_and_garbage_are_refused(cloud, tmp_path):
    cloud.publish(1)
    stranger = create(tmp_path / "stranger", keys())
    stranger.offer({Channel.FLEET: offer(9)})
    cloud.shown = stranger.folder
    assert refusal(cloud.vehicle()) == "metadata_unsigned"
    cloud.shown = cloud.copy("garbage")
    for content in (b"", b"[]", b'{"signed": 1}', b"\xff" * 50):
        (cloud.shown / "timestamp.json").write_bytes(content)
        assert refusal(cloud.vehicle()) == "metadata_malformed"


def test_metadata_larger_than_any_is_refused(cloud):
    feed = ReleaseFeed(cloud.folder / "v1", cloud.folder / "root.json", "v1", lambda url: (200, b"x" * 65536))
    with pytest.raises(ReleaseRefused, match=r"metadata_malformed.*maximum allowed length"):
        feed.look(URL)


def test_keys_change_by_the_roots_word_and_the_old_ones_count_no_more(cloud):
    cloud.publish(1)
    feed = cloud.vehicle()
    feed.look(URL)
    stolen = ReleaseRepository(cloud.copy("stolen"), {role: cloud.keys[role] for role in tuf_repository.ONLINE})
    fresh = keys()
    public = {role: key.public_key() for role, key in fresh.items()}
    cloud.repository.authorise(public, [cloud.keys["root"], fresh["root"]])
    cloud.repository = ReleaseRepository(cloud.repository.folder, {role: fresh[role] for role in tuf_repository.ONLINE})
    assert cloud.repository.renew()
    assert feed.look(URL) == offer(1)
    assert feed.signers() == [fresh["targets"].public_key()]
    # Whoever has the old keys makes no metadata that is believed.
    for version in range(2, 9):
        stolen.offer({Channel.FLEET: offer(version)})
    cloud.shown = stolen.folder
    shutil.copy(cloud.repository.folder / "2.root.json", stolen.folder)
    assert refusal(feed) == "metadata_unsigned"


def test_without_the_roots_key_no_root_is_made(cloud):
    thief = keys()
    cloud.repository.authorise({role: key.public_key() for role, key in thief.items()}, [thief["root"]])
    assert refusal(cloud.vehicle()) == "metadata_unsigned"
    with pytest.raises(ValueError, match="no root metadata"):
        signers(b"{}")


class Shelf:
    """A vehicle's shelf that is served from release folders on this disk."""

    def __init__(self, cloud: Cloud) -> None:
        folder = cloud.folder
        self.cloud, self.served = cloud, folder / "served"
        public = cloud.keys["targets"].public_key()
        root = cloud.repository.root_bytes()
        self.identity: Identity = enrol_locally(Authority(folder / "pki"), "v1", folder / "identity", public, root)
        (folder / "state").mkdir()
        self.outbox = Outbox(folder / "state")
        feed = ReleaseFeed(folder / "v1", self.identity.root_path, "v1", lambda url: cloud.read(url))
        self.shelf = ReleaseShelf(folder / "shelf", self.identity, feed, self.outbox, self._fetch, untested)
        self._time = 0.0

    def release(self, version: int, key: Ed25519PrivateKey | None = None, content: bytes = b"weights") -> None:
        """Made, served and put on offer."""
        folder = self.served / str(version)
        manifest = release.write_release(
            folder, {"a": content}, key or self.cloud.keys["targets"], version=version, architecture={}
        )
        size = (folder / "manifest.json").stat().st_size
        self.cloud.repository.offer({Channel.FLEET: Offer(version, manifest.digest, size)})

    def look(self) -> int:
        """The version that it has after news."""
        self._time += 1.0
        self.shelf.offer(Pointer(region="home", version=99, metadata=self.cloud.repository.version, url=URL))
        self.shelf.check(self._time)
        self.shelf.wait()
        return self.shelf.version

    def _fetch(self, url: str, path: Path, limit: int) -> None:
        content = (self.served / url.removeprefix(URL + "releases/")).read_bytes()
        assert len(content) <= limit
        path.write_bytes(content)


@pytest.fixture
def shelf(cloud):
    shelf = Shelf(cloud)
    yield shelf
    shelf.outbox.close()


def test_a_release_on_offer_becomes_the_active_one(shelf):
    shelf.release(1)
    assert shelf.look() == 1
    shelf.release(2)
    assert shelf.look() == 2
    assert shelf.shelf.active[0].name == "2"


def test_a_manifest_that_is_signed_but_not_the_one_on_offer_is_refused(shelf):
    shelf.release(1)
    shelf.look()
    shelf.release(2)
    shutil.rmtree(shelf.served / "2")
    shutil.copytree(shelf.served / "1", shelf.served / "2")
    assert shelf.look() == 1
    assert shelf.shelf.reason == "bad_digest"
    assert shelf.shelf.refusals == {"bad_digest": 1}


def test_a_release_that_no_trusted_key_signed_is_refused(shelf):
    shelf.release(1, key=Ed25519PrivateKey.generate())
    assert shelf.look() == 0
    assert shelf.shelf.reason == "bad_signature"


def test_an_old_version_on_offer_again_changes_nothing(shelf):
    shelf.release(2)
    shelf.look()
    shutil.rmtree(shelf.served)
    shelf.release(1)
    assert shelf.look() == 2


def test_without_news_it_looks_once_in_a_while(shelf):
    """A broker that keeps pointers back keeps nothing back for good: at the latest after twice the mean of an hour."""
    shelf.release(1)
    shelf.look()
    shelf.release(2)
    shelf.shelf.check(10.0)
    assert shelf.shelf.version == 1
    shelf.shelf.check(10.0 + 2 * 3600.0)
    shelf.shelf.wait()
    assert shelf.shelf.version == 2


@pytest.fixture
def clock(monkeypatch):
    """The vehicle's wall clock, as TUF's client reads it: `clock.off` is how far it is off."""

    class Clock(datetime):
        off = timedelta()

        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + cls.off

    monkeypatch.setattr(trusted_metadata_set, "datetime", SimpleNamespace(datetime=Clock, timezone=timezone))
    return Clock


@pytest.mark.parametrize(
    ("days", "version", "reason"),
    [(2, 1, "metadata_expired"), (8, 1, "metadata_expired"), (-30, 2, "")],
    ids=["the timestamp's life is over", "the snapshot's too", "back"],
)
def test_a_vehicle_whose_clock_jumps_keeps_its_release_and_recovers_without_news(shelf, clock, days, version, reason):
    """TUF 5.3 to 5.6: what has expired is refused; metadata from the future is not, or no clock could ever be late."""
    shelf.release(1)
    assert shelf.look() == 1
    clock.off = timedelta(days=days)
    shelf.release(2)
    assert shelf.look() == version
    assert shelf.shelf.reason == reason
    assert shelf.shelf.active[1].version == version
    assert shelf.outbox.get_state("release") == str(version)
    clock.off = timedelta()
    shelf.shelf.check(10.0)
    shelf.shelf.check(10.0 + 2 * EXPIRED_RECHECK_S if reason else 10.0 + 2 * RECHECK_S)
    shelf.shelf.wait()
    assert shelf.shelf.version == 2
    assert shelf.shelf.reason == ""


def test_metadata_that_a_late_clock_of_the_aggregator_signed_is_renewed_once_that_is_right(shelf, monkeypatch):
    monkeypatch.setitem(tuf_repository.LIFETIMES, "timestamp", timedelta(days=1 - 30))
    monkeypatch.setitem(tuf_repository.LIFETIMES, "snapshot", timedelta(days=7 - 30))
    shelf.release(1)
    assert shelf.look() == 0
    assert shelf.shelf.reason == "metadata_expired"
    monkeypatch.setitem(tuf_repository.LIFETIMES, "timestamp", timedelta(days=1))
    monkeypatch.setitem(tuf_repository.LIFETIMES, "snapshot", timedelta(days=7))
    assert shelf.cloud.repository.renew()
    assert shelf.look() == 1


def cut_off(url):
    raise OSError("cut")


def tries(shelf, start: float, end: float) -> list[float]:
    """When it looks between two times, its thread's work done by then."""
    asked: list[float] = []
    read, now = shelf.cloud.read, [start]
    shelf.cloud.read = lambda url: (asked.append(now[0]), read(url))[1]
    while now[0] < end:
        shelf.shelf.check(now[0])
        shelf.shelf.wait()
        now[0] += 0.5
    shelf.cloud.read = read
    return asked


def test_while_the_way_is_closed_it_asks_ever_more_rarely_and_then_at_once_again(shelf):
    """Waits are uniform below 5, 10, 20 … at most 120 s: 600 s hold at least 7 tries, and 60 s apart on average some
    9 more. In step every 5 s they were 120.
    """
    shelf.release(1)
    read, shelf.cloud.read = shelf.cloud.read, cut_off
    assert shelf.look() == 0
    asked = tries(shelf, 2.0, 602.0)
    assert 7 <= len(asked) <= 40
    shelf.cloud.read = read
    tries(shelf, 602.0, 602.0 + LAST_RETRY_S + 1.0)
    assert shelf.shelf.version == 1


def test_a_server_that_is_busy_is_left_alone_for_as_long_as_it_asks(shelf):
    shelf.release(1)
    read = shelf.cloud.read

    def busy(url):
        raise TryLater("busy", 300.0)

    shelf.cloud.read = busy
    assert shelf.look() == 0
    shelf.cloud.read = read
    assert tries(shelf, 2.0, 301.0) == []
    tries(shelf, 301.0, 302.0 + FIRST_RETRY_S + 1.0)
    assert shelf.shelf.version == 1


def test_who_has_the_newest_release_does_not_ask_at_once(shelf):
    shelf.release(1)
    shelf.look()
    asked = []
    shelf.cloud.read = lambda url: asked.append(url)
    shelf.shelf.offer(Pointer(region="home", version=1, metadata=77, url=URL))
    shelf.shelf.check(11.0)
    shelf.shelf.wait()
    assert not asked


def test_new_keys_sign_releases_once_the_root_says_so(shelf, cloud):
    shelf.release(1)
    shelf.look()
    old, fresh = cloud.keys["targets"].public_key(), keys()
    cloud.repository.authorise({"targets": fresh["targets"].public_key()}, [cloud.keys["root"]])
    online = {role: cloud.keys[role] for role in ("snapshot", "timestamp")} | {"targets": fresh["targets"]}
    cloud.repository, cloud.keys = ReleaseRepository(cloud.repository.folder, online), {**cloud.keys, **fresh}
    shelf.release(2)
    assert shelf.look() == 2
    trusted = shelf.identity.release_keys()
    assert fresh["targets"].public_key() in trusted
    assert old not in trusted
