"""How this process gets memory from the system, and when it gives it back."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import sys

__all__ = ["keep_freed_memory", "spare_loaded_code"]

# Of glibc's malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_ARENA_MAX = -8
_KEPT_BYTES = 2**31 - 1  # the most that it can be told


def keep_freed_memory() -> None:
    """Keep up to 2 GiB of freed memory for the next batch, where the C library is glibc.

    A batch needs some hundred megabytes and frees them, over and over. By default glibc gives
    them back to the system each time, on any thread but the first, and gets them again page by
    page, each filled with zeros: measured, a fifth of the time of a batch. The process comes to
    hold as much as at its largest batch either way. One arena for all threads, as what others have
    holds no block above 64 MiB.

    Who sets one of glibc's ``MALLOC_`` variables has decided otherwise.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):  # musl has no such option
        library.mallopt(_ARENA_MAX, 1)
        library.mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
        library.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)


def spare_loaded_code() -> None:
    """Let the garbage collector look no more at what this process has loaded up to now.

    Libraries are some hundred thousand objects that stay until the end. A full collection visits
    each of them and finds nothing: measured, a sixth of a second in which no call is answered.
    """
    gc.collect()
    gc.freeze()
    # At the end of the process libraries look for what is left, and would tell of all of it.
    atexit.register(gc.unfreeze)
