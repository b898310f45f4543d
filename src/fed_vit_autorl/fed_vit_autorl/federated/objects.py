"""Files named by the SHA-256 of their content: written durably, in one step, once."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..files import sync, write_file


class ObjectFolder:
    """Content-addressed files under `<root>/<two digits>/<digest>`."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.root.mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        return self.root / digest[:2] / digest

    def put(self, content: bytes) -> str:
        """Stores `content` and returns its digest once it is on the disk; OSError (ENOSPC) leaves nothing behind."""
        digest = hashlib.sha256(content).hexdigest()
        target = self.path(digest)
        if target.exists():
            return digest
        write_file(target, content)
        return digest

    def adopt(self, path: Path, digest: str) -> None:
        """Moves a synced file of the same file system, whose digest the caller has checked, in here."""
        target = self.path(digest)
        target.parent.mkdir(exist_ok=True)
        path.replace(target)
        sync(target.parent)

    def read(self, digest: str) -> bytes:
        """Content, its digest checked again; raises FileNotFoundError, or ValueError for a damaged file."""
        content = self.path(digest).read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise ValueError(f"{self.path(digest)} is damaged: its content has another digest than its name")
        return content

    def remove(self, digest: str) -> None:
        self.path(digest).unlink(missing_ok=True)
