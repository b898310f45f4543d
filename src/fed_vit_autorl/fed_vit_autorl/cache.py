"""Where the user keeps what can be made again."""

import os
from pathlib import Path


def cache_folder(part: str) -> Path:
    """`part` of `FEDVIT_CACHE`, or of the product's folder in the user's cache (XDG Base Directory Specification 0.8);
    as scripts/setup.sh has it.
    """
    users = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("FEDVIT_CACHE") or Path(users, "fed-vit-autorl")) / part
