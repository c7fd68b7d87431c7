"""SIGKILL at twenty random points of an extraction; each time, what continues is undisturbed."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

POINTS = 20

# Each run is a process of its own, and counts its function calls: no clock decides where it ends.
SCRIPT = """
    import os, random, signal, sys, numpy as np, torch
    from pathlib import Path
    from detector.attacks import AttackSpec
    from detector.copies import parse_copy
    from detector.data import ArraySource, Splits
    from detector.decoupling import DecoupledNetwork
    from detector.decoupling.backbones import CifarResNet
    from detector.jobs.extract import ExtractOptions, extract
    from detector.path_table import SplitName
    from detector.preprocessing import Preprocessing

    generator = np.random.default_rng(0)
    names = ("a", "b", "c", "d")
    train, test = (
        ArraySource(generator.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8),
                    np.arange(n) % 4, names)
        for n in (40, 30)
    )
    preprocessing = Preprocessing(height=8, width=8, shorter_side=8, mean=(0.5,) * 3,
                                  std=(0.25,) * 3)
    torch.manual_seed(0)
    network = DecoupledNetwork(CifarResNet(1, 4, widths=(8, 8, 8))).eval()
    splits = Splits.divide(train, test, preprocessing=preprocessing)

    def run(folder, kill_at=None):
        \"\"\"Exit code and calls of an extraction that may end itself at one of them.\"\"\"
        reading, writing = os.pipe()
        if not (child := os.fork()):
            calls = 0
            def count(_frame, event, _argument):
                nonlocal calls
                calls += event in {"call", "c_call"}
                if calls == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
            sys.setprofile(count)
            extract(network, splits, ExtractOptions(
                output=folder, splits=(SplitName.TEST,), copies=(parse_copy("flip"),),
                attacks=(AttackSpec.parse("fgsm:8/255"),), batch_size=5, shard_size=10))
            sys.setprofile(None)
            os.write(writing, str(calls).encode())
            os._exit(0)
        os.close(writing)
        told = os.read(reading, 100)
        os.close(reading)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), int(told or 0)

    def contents(folder):
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    root, points = Path(sys.argv[1]), int(sys.argv[2])
    code, calls = run(root / "undisturbed")
    expected = contents(root / "undisturbed")
    assert code == 0 and len(expected) == 1 + 3 * 2 * 2, expected.keys()
    for index, point in enumerate(sorted(random.Random(0).sample(range(1, calls), points))):
        folder = root / str(index)
        assert run(folder, kill_at=point)[0] == -signal.SIGKILL
        left = {path.name for path in folder.iterdir()} if folder.exists() else set()
        assert run(folder)[0] == 0
        assert contents(folder) == expected, point
        print(len([name for name in left if name.endswith(".parquet")]))
"""


@pytest.mark.slow
def test_no_kill_changes_a_table(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path), str(POINTS)],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    finished = [int(line) for line in done.stdout.split()]
    assert len(finished) == POINTS
    assert max(finished) - min(finished) >= 6  # of 12: killed early and late, not at one place
