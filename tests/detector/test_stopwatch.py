"""Where the time of a batch goes: into the network or into what follows."""

from __future__ import annotations

import time

import pytest
import torch

from detector.pipeline.stopwatch import Stopwatch


def test_the_time_before_and_after_the_network_are_told_apart() -> None:
    stopwatch = Stopwatch(torch.device("cpu"))
    time.sleep(0.05)
    stopwatch.network_asked()
    time.sleep(0.2)
    spent = stopwatch.stop()
    assert spent.network_s >= 0.05
    assert spent.scoring_s >= 0.2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_work_that_a_gpu_was_only_asked_for_counts_as_the_network_s() -> None:
    device = torch.device("cuda")
    torch.cuda._sleep(1)
    torch.cuda.synchronize()
    stopwatch = Stopwatch(device)
    asked = time.perf_counter()
    torch.cuda._sleep(400_000_000)  # clock cycles: a fifth of a second or so
    asked = time.perf_counter() - asked
    stopwatch.network_asked()
    torch.cuda.synchronize()
    spent = stopwatch.stop()
    assert spent.network_s > 0.05 > asked
    assert spent.scoring_s < spent.network_s
