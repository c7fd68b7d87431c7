"""Of the jobs that write to one folder of object storage, at most one goes on."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from detector.errors import StorageError
from detector.object_storage import ObjectPath, sole_object_writer

patient = partial(sole_object_writer, beat_s=0.1, silence_s=300)
hasty = partial(sole_object_writer, beat_s=0.1, silence_s=1.5)


@pytest.fixture
def folder(bucket) -> ObjectPath:
    return ObjectPath(folder=f"s3://{bucket.name}/paths")


def flags(bucket) -> set[str]:
    return {name for name in bucket.names() if name.startswith(".writer-")}


def test_a_second_job_is_refused_and_told_which_one_is_at_work(folder, bucket) -> None:
    with patient(folder):
        with (
            pytest.raises(
                StorageError, match=r"one job at a time\. Found (process \d+ of|another)"
            ),
            patient(folder),
        ):
            pytest.fail("two jobs write to one folder")
        assert len(flags(bucket)) == 1
    with patient(folder):
        pass


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_job_that_ends_makes_room_at_once(error, folder, bucket) -> None:
    with pytest.raises(error), patient(folder):
        raise error
    assert not flags(bucket)
    started = time.monotonic()
    with patient(folder):
        assert time.monotonic() - started < 100


def test_a_job_that_was_killed_is_outlived(folder, bucket) -> None:
    bucket.put(".writer-dead", b"process 7 of elsewhere (once)")
    with hasty(folder):
        assert ".writer-dead" not in flags(bucket)
        assert len(flags(bucket)) == 1


def test_a_job_that_ends_meanwhile_is_waited_for(folder, bucket) -> None:
    bucket.put(".writer-ending", b"process 7 of elsewhere (once)")
    ending = threading.Timer(0.3, bucket.delete, [".writer-ending"])
    ending.start()
    with patient(folder):
        assert len(flags(bucket)) == 1
    ending.join()


def test_a_job_goes_on_saying_that_it_is_there(folder) -> None:
    with patient(folder):
        found = set()
        while len(found) < 3:
            found |= set(folder.times().values())


def test_jobs_that_come_in_the_same_moment_do_not_write_together(folder) -> None:
    together = threading.Barrier(4)
    inside = threading.Semaphore(1)
    outcomes = []

    def job() -> None:
        together.wait()
        try:
            with patient(folder):
                outcomes.append(inside.acquire(blocking=False))
                time.sleep(0.5)
                inside.release()
        except StorageError:
            outcomes.append(None)

    jobs = [threading.Thread(target=job) for _ in range(4)]
    for each in jobs:
        each.start()
    for each in jobs:
        each.join()
    assert len(outcomes) == 4
    assert False not in outcomes


def test_a_folder_that_may_not_be_written_is_refused_at_once(folder, bucket) -> None:
    bucket.forbid("s3:PutObject")
    with pytest.raises(StorageError, match="access denied"), patient(folder):
        pytest.fail("nothing can be written here")
