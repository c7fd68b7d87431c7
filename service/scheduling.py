"""How the threads of a server share a core, where they have only one."""

from __future__ import annotations

import contextlib
import os
import sys

from service.devices import usable_cores

__all__ = ["run_in_turns"]


def run_in_turns() -> None:
    """On a single core let the threads of this process end their work before others of it begin.

    gRPC wakes a thread at every event of every call. Where that thread has to take the core from
    the one that runs, each event costs two changes of threads and their caches, for nothing: the
    core is busy either way. Linux's batch policy lets whoever runs go on until it waits or its
    time slice is over. With more cores threads seldom meet, and wake up sooner as they are.

    For threads that begin later than this call. Left alone where whoever started the process
    chose a policy for it, or the machine knows or allows no other.
    """
    if sys.platform != "linux" or usable_cores() > 1:
        return
    with contextlib.suppress(OSError):
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
