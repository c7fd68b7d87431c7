"""How a serving process takes its core and its memory; each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="of Linux and glibc")

POLICY = """
import os
from service.scheduling import run_in_turns
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:{cores}])
{before}
run_in_turns()
print(os.sched_getscheduler(0))
"""

# Three blocks of 8 MiB are 6 144 pages, got and freed on a thread, as those of batches are.
FAULTS = """
import resource, threading
from service.memory import keep_freed_memory
keep_freed_memory()

def batch():
    [bytearray(2**23) for _ in range(3)]

def batches():
    batch()
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range(10):
        batch()
    print(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before)

thread = threading.Thread(target=batches)
thread.start()
thread.join()
"""

LOOKED_AT = """
import gc
from service.memory import spare_loaded_code
import service.server
spare_loaded_code()
print(len(gc.get_objects()))
"""


def run(program: str, **environment: str) -> int:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=kept | environment,
        capture_output=True,
        check=True,
        text=True,
    )
    return int(done.stdout)


def ordinary() -> bool:
    return os.sched_getscheduler(0) == os.SCHED_OTHER


def test_threads_that_share_one_core_take_turns() -> None:
    if not ordinary():
        pytest.skip("these tests run under a policy of their own")
    assert run(POLICY.format(cores=1, before="")) == os.SCHED_BATCH


def test_a_policy_that_was_chosen_for_the_process_is_left_alone() -> None:
    chosen = "os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))"
    assert run(POLICY.format(cores=1, before=chosen)) == os.SCHED_IDLE


def test_with_more_cores_threads_wake_up_as_ever() -> None:
    if not ordinary() or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores and the ordinary policy")
    assert run(POLICY.format(cores=2, before="")) == os.SCHED_OTHER


def test_memory_that_a_batch_freed_serves_the_next_one() -> None:
    # Not one page in ten batches of 6 144; a few for what else the thread does.
    assert run(FAULTS) < 100


def test_who_sets_options_of_the_allocator_has_them() -> None:
    assert run(FAULTS, MALLOC_MMAP_THRESHOLD_="65536") > 10 * 6144 / 2


def test_no_collection_looks_at_what_was_loaded_before() -> None:
    # Without it, the libraries are some hundred thousand objects.
    assert run(LOOKED_AT) < 1000


def test_the_end_of_a_process_that_spared_its_libraries_is_silent() -> None:
    program = "from service.memory import spare_loaded_code\nimport service.server\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}spare_loaded_code()"],
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stderr == ""
