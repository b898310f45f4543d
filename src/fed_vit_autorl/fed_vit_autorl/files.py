"""Files that appear whole and durable, or not at all."""

import os
import threading
from pathlib import Path


def write_file(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Durable on return; makes the folder if need be. OSError (ENOSPC, …) leaves the old file and nothing else.

    `mode`: the file's permissions, less the process's umask.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_secret(path: Path, content: bytes) -> None:
    """`write_file` that only its owner can read."""
    write_file(path, content, 0o600)


def sync(path: Path) -> None:
    """Makes a file's content, or a folder's entries, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
