"""What can be made again lies where scripts/setup.sh puts it."""

from pathlib import Path

from fed_vit_autorl.cache import cache_folder
from fed_vit_autorl.edge.engine_cache import EngineCache


def test_the_cache_is_where_the_user_wants_it(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("FEDVIT_CACHE", raising=False)
    assert cache_folder("towns") == Path("/home/someone/.cache/fed-vit-autorl/towns")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert cache_folder("towns") == Path("/var/cache/fed-vit-autorl/towns")
    monkeypatch.setenv("FEDVIT_CACHE", "/data")
    assert cache_folder("towns") == Path("/data/towns")
    assert EngineCache().folder == Path("/data/engines")
    assert EngineCache(Path("/elsewhere")).folder == Path("/elsewhere")
