"""The one thread that computes; one that hangs does not keep the process from ending."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

from typing_extensions import override

__all__ = ["InferenceThread"]

P = ParamSpec("P")
T = TypeVar("T")
_Job = tuple["Future[Any]", Callable[[], Any]]

_LAST_BATCH_S = 2.0
"""Longest wait for a batch that nobody waits for any more."""


class InferenceThread(Executor):
    """Runs what is submitted, one after the other, on a daemon thread.

    A `ThreadPoolExecutor` of one does the same, but the interpreter joins its thread at exit: a
    kernel that never returns would hold up the end of the process for ever.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="offpath-inference_0", daemon=True)
        self._thread.start()

    @override
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        if self._closed:
            raise RuntimeError("An inference thread should not be given work after its shutdown.")
        future: Future[T] = Future()
        self._jobs.put((future, lambda: fn(*args, **kwargs)))
        return future

    @override
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take nothing more; wait a moment, and no longer, for what runs.

        Args:
            wait: Whether to wait.
            cancel_futures: Whether what has not begun is cancelled.
        """
        self._closed = True
        while cancel_futures:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is not None:
                job[0].cancel()
        self._jobs.put(None)
        if wait:
            self._thread.join(_LAST_BATCH_S)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, work = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001  # it belongs to who waits for it
                future.set_exception(error)
            else:
                future.set_result(result)
            del job, future, work  # else a batch is kept until the next one comes
