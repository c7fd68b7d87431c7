import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from detector.errors import StorageError
from detector.storage import atomic_path, sole_writer


def test_what_was_written_takes_its_place(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_what_was_there_is_replaced_only_at_the_end(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_keeps_what_was_there_and_leaves_no_rest(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")

    def write_half():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_keeps_what_was_there_and_says_what_to_do(tmp_path, monkeypatch, call):
    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "file"
    path.write_text("old")
    monkeypatch.setattr(os, call, full)
    with (
        pytest.raises(StorageError, match=r"No space left on device.*Free some space"),
        atomic_path(path) as temporary,
    ):
        temporary.write_text("new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file_is_reported_as_such(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(StorageError, match="should be writable"), atomic_path(tmp_path / "file/x"):
        pytest.fail("nothing can be written here")
    assert (tmp_path / "file").read_text() == "old"


def test_two_jobs_do_not_write_to_one_folder(tmp_path):
    with sole_writer(tmp_path / "new"):
        with (
            pytest.raises(
                StorageError, match=r"one job at a time\. Found process \d+ of .* at work"
            ),
            sole_writer(tmp_path / "new"),
        ):
            pytest.fail("two jobs write")
        with pytest.raises(StorageError), sole_writer(tmp_path / "new"):
            pytest.fail("a job that was refused took the lock away")
        with sole_writer(tmp_path / "other"):
            pass
    with sole_writer(tmp_path / "new"):
        pass
    assert not list((tmp_path / "new").iterdir())


def test_a_job_that_was_killed_locks_nobody_out_and_leaves_no_rest(tmp_path):
    """SIGKILL while a file is written: the lock goes with the process, its rest with the next."""
    code = """
import os, signal, sys
from pathlib import Path
from detector.storage import atomic_path, sole_writer
folder = Path(sys.argv[1])
with sole_writer(folder), atomic_path(folder / "file") as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    with sole_writer(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert not list(tmp_path.iterdir())


def test_a_lock_that_its_holder_removes_meanwhile_is_not_taken(tmp_path, monkeypatch):
    """Another job may open the file just before: it would hold what nobody looks at any more."""

    def too_late(file, _how):
        Path(file.name).unlink()

    monkeypatch.setattr(fcntl, "flock", too_late)
    with pytest.raises(StorageError, match="another one at work"), sole_writer(tmp_path):
        pytest.fail("a removed lock was taken")


def test_folders_without_locks_are_written_to(tmp_path, monkeypatch):
    def unknown(*_args):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(fcntl, "flock", unknown)
    rest = tmp_path / ".another.part"
    rest.touch()
    with sole_writer(tmp_path):
        assert rest.exists()  # of another job, for all that is known


def test_a_folder_that_cannot_be_made_is_reported_as_such(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="should be writable"), sole_writer(tmp_path / "file/x"):
        pytest.fail("nothing can be written here")


_WRITE_BEYOND_THE_LIMIT = """
import resource, sys, torch
from pathlib import Path
from torch import nn
from detector.decoupling import Backbone
from detector.errors import StorageError
from detector.jobs.checkpoint import Checkpoint, save_checkpoint
from detector.preprocessing import CIFAR10_PREPROCESSING
from detector.weights import NetworkInfo, save_weights

info = NetworkInfo(backbone=Backbone.CIFAR_RESNET20, class_names=("a",),
                   preprocessing=CIFAR10_PREPROCESSING)
layer = nn.Linear(200, 200)
writers = {
    "checkpoint": lambda p: save_checkpoint(
        p, Checkpoint(step=1, fingerprint="", states=layer.state_dict())),
    "weights": lambda p: save_weights(p, layer, info),
}
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
for name, write in writers.items():
    try:
        write(Path(sys.argv[1]) / name)
    except StorageError as error:
        print(error)
"""


def test_checkpoints_and_weights_that_may_not_grow_keep_the_files_before(tmp_path):
    """The real thing, not a double: both libraries have errors of their own for a failed write."""
    names = ["checkpoint", "weights"]
    for name in names:
        (tmp_path / name).write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", _WRITE_BEYOND_THE_LIMIT, tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("File too large") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert {path.read_text() for path in tmp_path.iterdir()} == {"old"}


# ---- one job at a time

_HOLD = """
import sys, time
from pathlib import Path
from detector.storage import sole_writer

with sole_writer(Path(sys.argv[1])):
    print("at work", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other_job(tmp_path):
    """A process that writes to a folder, and the folder."""
    folder = tmp_path / "table"
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, folder], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "at work\n"
    yield process, folder
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_folder_that_another_job_writes_to_is_refused_and_the_job_is_named(other_job):
    process, folder = other_job
    for _ in range(2):  # to be refused takes nothing from the other
        with (
            pytest.raises(
                StorageError, match=rf"one job at a time\. Found process {process.pid} of .*Wait"
            ),
            sole_writer(folder),
        ):
            pytest.fail("two jobs at once")


def test_a_job_that_was_killed_leaves_no_lock_and_what_it_left_half_written_is_removed(other_job):
    process, folder = other_job
    (folder / ".shard.parquet.0123.part").write_text("half")
    (folder / "shard.parquet").write_text("whole")
    process.kill()
    process.wait()
    with sole_writer(folder):
        assert sorted(path.name for path in folder.iterdir()) == [".lock", "shard.parquet"]
    assert [path.name for path in folder.iterdir()] == ["shard.parquet"]


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_however_a_job_ends_the_next_one_may_write(tmp_path, error):
    def work():
        with sole_writer(tmp_path / "new" / "folder"):
            if error is not None:
                raise error

    if error is None:
        work()
    else:
        with pytest.raises(error):
            work()
    with sole_writer(tmp_path / "new" / "folder"):
        pass
    assert not list((tmp_path / "new" / "folder").iterdir())


def test_a_lock_that_was_removed_in_the_meantime_is_not_taken_for_the_folder_s(
    tmp_path, monkeypatch
):
    """Between opening and locking the file of a job that ends, the file can go."""
    flock = fcntl.flock

    def late(file, operation):
        (tmp_path / ".lock").unlink()
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(StorageError, match="one job at a time"), sole_writer(tmp_path):
        pytest.fail("this lock keeps nobody out")


def test_file_systems_without_locks_are_written_to_all_the_same(tmp_path, monkeypatch):
    def unknown(_file, _operation):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(fcntl, "flock", unknown)
    (tmp_path / ".of-another-machine.part").write_text("half")
    with sole_writer(tmp_path):
        assert (tmp_path / ".of-another-machine.part").exists()  # perhaps somebody writes it
    assert not (tmp_path / ".lock").exists()


def test_what_a_killed_worker_of_a_job_left_half_written_is_removed_when_the_job_is_done(tmp_path):
    rest = tmp_path / ".shard.parquet.0123.part"
    with sole_writer(tmp_path):
        rest.write_text("half")
    assert not rest.exists()


def test_a_job_that_fails_leaves_alone_what_its_workers_may_go_on_writing(tmp_path):
    rest = tmp_path / ".shard.parquet.0123.part"

    def fail():
        rest.write_text("half")
        raise ValueError("failed")

    with pytest.raises(ValueError, match="failed"), sole_writer(tmp_path):
        fail()
    assert rest.exists()
