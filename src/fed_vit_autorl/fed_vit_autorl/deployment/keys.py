"""Ed25519 keys of releases as PEM files."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fed_vit_autorl.files import write_file


def load_or_create_signing_key(path: Path) -> Ed25519PrivateKey:
    """The private key at `path` (PKCS 8 PEM, mode 0600), made when there is none; `<path>.pub` holds its public half.

    Raises ValueError when the file holds another kind of key.
    """
    path = Path(path)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        key = Ed25519PrivateKey.generate()
        encoded = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as stream:
            stream.write(encoded)
        save_public_key(key.public_key(), path.with_name(path.name + ".pub"))
        return key
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{path} holds no Ed25519 private key")
    return key


def save_public_key(key: Ed25519PublicKey, path: Path) -> None:
    """Write `key` as SubjectPublicKeyInfo PEM, in one step."""
    content = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    write_file(path, content)


def load_public_keys(*paths: Path) -> list[Ed25519PublicKey]:
    """The keys of PEM files; a folder stands for its `*.pub` files.

    Raises ValueError for a file that holds no Ed25519 public key.
    """
    files = [file for path in map(Path, paths) for file in (sorted(path.glob("*.pub")) if path.is_dir() else [path])]
    keys = [serialization.load_pem_public_key(file.read_bytes()) for file in files]
    for file, key in zip(files, keys, strict=True):
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError(f"{file} holds no Ed25519 public key")
    return keys
