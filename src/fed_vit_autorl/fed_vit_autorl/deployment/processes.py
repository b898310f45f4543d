"""Child processes that never outlive the program that started them."""

import multiprocessing
import os
import shutil
import threading
from collections.abc import Sequence

NICEST = 19
# The parent may have died before the kernel was asked to tell: then the command doesn't start at all.
_IF_PARENT_LIVES = '[ "$PPID" = "$0" ] && exec "$@"'


def dying_with_parent(command: Sequence[str]) -> list[str]:
    """The command under util-linux's ``setpriv``, so that the kernel kills it with the thread that starts it.

    Where there is no ``setpriv`` the command is returned as it is, and only an orderly end stops the child.
    """
    if shutil.which("setpriv") is None:
        return list(command)
    return ["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", _IF_PARENT_LIVES, str(os.getpid()), *command]


def stand_back() -> None:
    """From now on this process has the processor only while nobody else wants it, and so has what it starts.

    A task of the idle class is preempted at once; a nice one keeps the processor for the rest of its slice.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except OSError:  # some containers refuse the class
        os.nice(NICEST)


def end_with_parent() -> None:
    """What a pool's processes begin with: each ends with the program that started it, however that ends.

    The kernel's word (`dying_with_parent`) would come when the thread ends that a pool happened to start it from.
    """
    threading.Thread(target=_end_after_parent, daemon=True).start()


def _end_after_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
