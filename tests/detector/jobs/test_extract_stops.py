"""No stop, kill or full disk costs a finished shard, and what continues is as if undisturbed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap

import pyarrow.parquet as pq
import pytest
import torch

from detector.attacks import AttackSpec
from detector.data import ArraySource
from detector.errors import DataError, StorageError
from detector.jobs import shard_work
from detector.jobs.extract import extract
from detector.path_table import SplitName

PGD = AttackSpec.parse("pgd:8/255,steps=2")


def fail_at(call: int, error: BaseException, function):
    """The function, which raises at its n-th call."""
    calls = iter(range(1, 10**6))

    def failing(*args, **kwargs):
        if next(calls) == call:
            raise error
        return function(*args, **kwargs)

    return failing


def test_a_second_run_computes_nothing(
    tiny_network, tiny_splits, tmp_path, monkeypatch, options, contents
) -> None:
    extract(tiny_network, tiny_splits, options(tmp_path))
    before = contents(tmp_path)
    monkeypatch.setattr(
        shard_work, "write_shard", lambda *_: pytest.fail("a finished shard was written again")
    )
    extract(tiny_network, tiny_splits, options(tmp_path))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("stop_at", [1, 2, 4, 6])
def test_a_run_that_was_stopped_and_continued_writes_the_same_bytes(
    stop_at, tiny_network, tiny_splits, tmp_path, monkeypatch, options, contents
) -> None:
    extract(tiny_network, tiny_splits, options(tmp_path / "undisturbed"))
    stopped = options(tmp_path / "stopped")
    with monkeypatch.context() as patch:
        interrupted = fail_at(stop_at, KeyboardInterrupt(), shard_work.write_shard)
        patch.setattr(shard_work, "write_shard", interrupted)
        with pytest.raises(KeyboardInterrupt):
            extract(tiny_network, tiny_splits, stopped)
    assert len(list((tmp_path / "stopped").glob("*.parquet"))) == stop_at - 1
    torch.manual_seed(99)  # what the global generator does must not matter
    extract(tiny_network, tiny_splits, stopped)
    assert contents(tmp_path / "stopped") == contents(tmp_path / "undisturbed")


def test_a_run_that_was_killed_while_it_wrote_continues(
    tiny_network, tiny_splits, tmp_path, options, contents
) -> None:
    """SIGKILL in a process of its own, when half of the second shard is on the disk."""
    script = """
        import os, signal, sys, numpy as np, torch
        from pathlib import Path
        from detector.attacks import AttackSpec
        from detector.data import ArraySource, Splits
        from detector.decoupling import DecoupledNetwork
        from detector.decoupling.backbones import CifarResNet
        from detector.jobs.extract import ExtractOptions, extract
        from detector.path_table import SplitName, shards
        from detector.preprocessing import Preprocessing

        write, calls = shards.pq.write_table, []
        def killed(table, path, **kwargs):
            calls.append(path)
            write(table, path, **kwargs)
            if len(calls) == 2:
                os.truncate(path, path.stat().st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
        shards.pq.write_table = killed

        generator = np.random.default_rng(0)
        names = ("a", "b", "c", "d")
        train, test = (
            ArraySource(generator.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8),
                        np.arange(n) % 4, names)
            for n in (40, 50)
        )
        preprocessing = Preprocessing(height=8, width=8, shorter_side=8, mean=(0.5,) * 3,
                                      std=(0.25,) * 3)
        torch.manual_seed(0)
        network = DecoupledNetwork(CifarResNet(1, 4, widths=(8, 8, 8))).eval()
        extract(network, Splits.divide(train, test, preprocessing=preprocessing), ExtractOptions(
            output=Path(sys.argv[1]), splits=(SplitName.TEST,),
            attacks=(AttackSpec.parse("pgd:8/255,steps=2"),), batch_size=8, shard_size=20))
    """
    folder = tmp_path / "killed"
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        check=False,
        text=True,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert len(list(folder.glob("*.parquet"))) == 1
    extract(tiny_network, tiny_splits, options(folder))
    extract(tiny_network, tiny_splits, options(tmp_path / "undisturbed"))
    finished = {name: data for name, data in contents(folder).items() if not name.endswith(".part")}
    assert finished == contents(tmp_path / "undisturbed")


def test_a_full_disk_keeps_the_finished_shards(
    tiny_network, tiny_splits, tmp_path, monkeypatch, options, contents
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", fail_at(3, full, pq.write_table))
        with pytest.raises(StorageError, match=r"No space left.*Free some space"):
            extract(tiny_network, tiny_splits, options(tmp_path))
    kept = contents(tmp_path)
    assert len([name for name in kept if name.endswith(".parquet")]) == 2
    assert not [name for name in kept if name.endswith(".part")]
    table = extract(tiny_network, tiny_splits, options(tmp_path))
    assert kept.items() <= contents(tmp_path).items()
    assert len(table.read(SplitName.TEST, PGD.label)) == 50


def test_an_output_that_is_a_file_is_refused(tiny_network, tiny_splits, tmp_path, options) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises((StorageError, DataError), match=r"should be .* Found"):
        extract(tiny_network, tiny_splits, options(blocked))
    assert blocked.read_text() == "not a folder"


def test_an_unreadable_image_stops_the_run_and_keeps_the_finished_shards(
    tiny_network, tiny_splits, tmp_path, monkeypatch, options
) -> None:
    broken = DataError("image.png should be a readable image. Found: truncated.")
    monkeypatch.setattr(ArraySource, "read", fail_at(5, broken, ArraySource.read))
    with pytest.raises(DataError, match="readable image"):
        extract(tiny_network, tiny_splits, options(tmp_path))
    assert len(list(tmp_path.glob("*.parquet"))) == 1
