"""Files that appear whole and durable, or not at all."""

import resource
import signal
import stat

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fed_vit_autorl.files import write_file, write_secret


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=st.lists(st.binary(max_size=4096), min_size=1, max_size=4))
def test_the_last_content_is_there_and_nothing_else(tmp_path, contents):
    for content in contents:
        write_file(tmp_path / "new" / "file", content)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]
    assert (tmp_path / "new" / "file").read_bytes() == contents[-1]


def test_no_room_leaves_the_old_file_alone(tmp_path):
    write_file(tmp_path / "file", b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write_file(tmp_path / "file", bytes(1001))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"old"}


def test_a_secret_is_its_owners_alone(tmp_path):
    write_secret(tmp_path / "key", b"secret")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
