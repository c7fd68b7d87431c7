"""The thread that computes: in order, errors to whom they belong, and no hold on the process."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from service.inference_thread import InferenceThread


def test_work_is_done_in_order_and_an_error_belongs_to_its_own_work() -> None:
    thread = InferenceThread()
    done: list[int] = []
    futures = [thread.submit(done.append, each) for each in range(5)]
    broken = thread.submit(int, "broken")
    last = thread.submit(done.copy)
    with pytest.raises(ValueError, match="broken"):
        broken.result()
    assert last.result() == [0, 1, 2, 3, 4]
    assert all(future.done() for future in futures)
    thread.shutdown()


def test_after_a_shutdown_nothing_is_taken_and_what_waited_is_cancelled() -> None:
    thread, begun, gate = InferenceThread(), threading.Event(), threading.Event()

    def work() -> bool:
        begun.set()
        return gate.wait()

    running, waiting = thread.submit(work), thread.submit(int)
    begun.wait()
    thread.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(RuntimeError, match="shutdown"):
        thread.submit(int)
    gate.set()
    assert running.result()
    assert waiting.cancelled()


def test_a_process_ends_although_its_inference_thread_hangs() -> None:
    script = (
        "import threading; from service.inference_thread import InferenceThread as T; t = T();"
        "t.submit(threading.Event().wait); t.shutdown(wait=False); print('end')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, timeout=120, check=True
    )
    assert ended.stdout == b"end\n"
