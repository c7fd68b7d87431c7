"""Training as it is run: by commands, in processes of its own, and in several at once."""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from detector.weights import load_network

_SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from detector.data import ArraySource, Splits
from detector.decoupling.recipes import Preset, recipe_of
from detector.jobs.train import TrainingOptions, train
from detector.preprocessing import Preprocessing

generator = np.random.default_rng(0)
train_source, test_source = (
    ArraySource(generator.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8), np.arange(n) % 4, "abcd")
    for n in (40, 8)
)
splits = Splits.divide(
    train_source,
    test_source,
    preprocessing=Preprocessing(
        height=8, width=8, shorter_side=8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
    ),
)
recipe = replace(
    recipe_of(Preset.RESNET20_CIFAR10).shortened(plain_epochs=1, decoupled_epochs=1),
    batch_size=16,
    settled=None,
)
for folder, *stops in (argument.split(":") for argument in sys.argv[1:]):
    for stop in stops:
        steps = int(stop) if stop else None
        train(splits, recipe, TrainingOptions(output=Path(folder), stop_after_steps=steps))
"""


def run(folder, *arguments, processes=1):
    """Train in the folders of the arguments, each `folder:steps` or `folder:` for all steps."""
    script = folder / "script.py"
    script.write_text(_SCRIPT)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    done = subprocess.run(
        [sys.executable, *(launcher if processes > 1 else []), str(script), *arguments],
        env=os.environ
        | {
            "ACCELERATE_USE_CPU": "true",
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_run_that_another_process_began_is_continued_to_the_same_weights(tmp_path):
    run(tmp_path, "straight:", "stopped:3")
    assert not (tmp_path / "stopped" / "network.safetensors").exists()
    run(tmp_path, "stopped:")
    one, other = (load_file(tmp_path / d / "network.safetensors") for d in ("straight", "stopped"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    network, info = load_network(tmp_path / "stopped" / "network.safetensors")
    assert info.class_names == ("a", "b", "c", "d")
    assert info.provenance["training_images"] == 32
    assert network.layout.gates == 672


@pytest.mark.slow
def test_torchrun_shares_each_batch_between_processes_and_writes_each_file_once(tmp_path):
    run(tmp_path, "shared:3:", processes=2)
    folder = tmp_path / "shared"
    assert load_network(folder / "network.safetensors")[0].layout.gates == 672
    assert len((folder / "log.jsonl").read_text().splitlines()) == 2
    assert len(list((folder / "tensorboard").iterdir())) == 2  # one for each call, not process
