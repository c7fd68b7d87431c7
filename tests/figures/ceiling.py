"""The pipeline's throughput without a server around it, as a `Worker`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from detector.bundle import load_bundle
from detector.pipeline import Pipeline

_WARM_UP_S = 0.5


def main() -> None:
    """Analyse the images of an .npy file, (N, H, W, 3), for as long as each order says.

    Orders: ``batch`` size; ``seconds``. The answer is the number of images per second, each with
    its verdict.
    """
    torch.set_num_threads(1)
    pipeline = load_bundle().pipeline
    images = torch.from_numpy(np.load(Path(sys.argv[1]))).permute(0, 3, 1, 2).contiguous()
    for line in sys.stdin:
        order = json.loads(line)
        _rate(pipeline, images, order["batch"], _WARM_UP_S)
        rate = _rate(pipeline, images, order["batch"], order["seconds"])
        sys.stdout.write(json.dumps(rate) + "\n")
        sys.stdout.flush()


def _rate(pipeline: Pipeline, images: Tensor, size: int, seconds: float) -> float:
    batches = [batch for batch in images.split(size) if len(batch) == size]
    started = time.perf_counter()
    done = 0
    while (spent := time.perf_counter() - started) < seconds:
        findings = pipeline.analyse(batches[done % len(batches)])
        for row in range(size):
            pipeline.detect(findings, row)
        done += 1
    return done * size / spent


if __name__ == "__main__":
    main()
