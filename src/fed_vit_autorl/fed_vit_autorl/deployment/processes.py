"""Child processes that never outlive the program that started them."""

import shutil
from collections.abc import Sequence


def dying_with_parent(command: Sequence[str]) -> list[str]:
    """The command under util-linux's ``setpriv``, so that the kernel kills it with the thread that starts it.

    Where there is no ``setpriv`` the command is returned as it is, and only an orderly end stops the child.
    """
    return ["setpriv", "--pdeathsig", "KILL", "--", *command] if shutil.which("setpriv") else list(command)
