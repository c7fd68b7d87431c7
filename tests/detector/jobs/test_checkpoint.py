import errno
import os

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.errors import CheckpointError, StorageError
from detector.jobs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

STATES = {"objective": {"weight": torch.arange(6.0).view(2, 3)}, "optimiser": {"rates": [0.1]}}


def checkpoint(step=7, fingerprint="ours"):
    return Checkpoint(step=step, fingerprint=fingerprint, states=STATES)


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    save_checkpoint(tmp_path / "file", checkpoint())
    found = load_checkpoint(tmp_path / "file", "ours")
    assert found is not None
    assert (found.step, found.fingerprint) == (7, "ours")
    assert torch.equal(found.states["objective"]["weight"], STATES["objective"]["weight"])
    assert found.states["optimiser"] == STATES["optimiser"]


def test_where_no_checkpoint_is_none_is_found(tmp_path):
    assert load_checkpoint(tmp_path / "missing", "ours") is None


def test_the_checkpoint_of_another_run_is_refused(tmp_path):
    save_checkpoint(tmp_path / "file", checkpoint())
    with pytest.raises(CheckpointError, match=r"another run\. Choose another --output"):
        load_checkpoint(tmp_path / "file", "theirs")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"\x80\x02}q\x00."])
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(CheckpointError, match="should be a checkpoint of `offpath train`"):
        load_checkpoint(tmp_path / "file", "ours")


def test_a_file_of_torch_that_holds_something_else_is_refused(tmp_path):
    for content in ({"weight": torch.zeros(2)}, [1, 2], torch.zeros(3)):
        torch.save(content, tmp_path / "file")
        with pytest.raises(CheckpointError, match="should be a checkpoint"):
            load_checkpoint(tmp_path / "file", "ours")


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


def test_a_checkpoint_that_wants_to_run_code_is_refused_before_it_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"step": 1, "fingerprint": "ours", "states": Evil()}, tmp_path / "file")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "file", "ours")
    assert not (tmp_path / "evil").exists()


@settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_truncated_or_altered_checkpoint_is_refused_or_whole(tmp_path, data):
    path = tmp_path / "file"
    save_checkpoint(path, checkpoint())
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans(), label="truncated"):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        found = load_checkpoint(path, "ours")
    except CheckpointError:
        return
    assert found is not None  # the byte was one that the archive does not need
    assert found.step == 7


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_keeps_the_checkpoint_before(tmp_path, monkeypatch, call):
    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "file"
    save_checkpoint(path, checkpoint())
    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(StorageError, match="No space left on device"):
            save_checkpoint(path, checkpoint(step=8))
    found = load_checkpoint(path, "ours")
    assert found is not None
    assert found.step == 7
    assert list(tmp_path.iterdir()) == [path]
