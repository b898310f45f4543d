"""Child processes that never outlive the program that started them."""

import os
import shutil
from collections.abc import Sequence

# The parent may have died before the kernel was asked to tell: then the command doesn't start at all.
_IF_PARENT_LIVES = '[ "$PPID" = "$0" ] && exec "$@"'


def dying_with_parent(command: Sequence[str]) -> list[str]:
    """The command under util-linux's ``setpriv``, so that the kernel kills it with the thread that starts it.

    Where there is no ``setpriv`` the command is returned as it is, and only an orderly end stops the child.
    """
    if shutil.which("setpriv") is None:
        return list(command)
    return ["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", _IF_PARENT_LIVES, str(os.getpid()), *command]
