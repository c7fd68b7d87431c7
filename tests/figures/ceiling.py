"""The pipeline's throughput without a server around it, as a `Worker`."""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from detector.bundle import load_bundle
from detector.pipeline import Pipeline
from service.memory import keep_freed_memory

_WARM_UP_S = 0.5


def main() -> None:
    """Analyse the images of an .npy file, (N, H, W, 3), for as long as each order says.

    Orders: ``batch`` size; ``seconds``. The answer is the number of images per second, each with
    its verdict, and the median time of a batch in milliseconds. One thread, and memory is got as
    the server gets it.
    """
    keep_freed_memory()
    torch.set_num_threads(1)
    pipeline = load_bundle(Path(sys.argv[1])).pipeline
    images = torch.from_numpy(np.load(Path(sys.argv[2]))).permute(0, 3, 1, 2).contiguous()
    for line in sys.stdin:
        order = json.loads(line)
        _measure(pipeline, images, order["batch"], _WARM_UP_S)
        found = _measure(pipeline, images, order["batch"], order["seconds"])
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


def _measure(pipeline: Pipeline, images: Tensor, size: int, seconds: float) -> dict[str, float]:
    batches = [batch for batch in images.split(size) if len(batch) == size]
    times: list[float] = []
    while sum(times) < seconds:
        started = time.perf_counter()
        findings = pipeline.analyse(batches[len(times) % len(batches)])
        for row in range(size):
            pipeline.detect(findings, row)
        times.append(time.perf_counter() - started)
    return {
        "images_per_s": len(times) * size / sum(times),
        "median_ms": 1000 * statistics.median(times),
    }


if __name__ == "__main__":
    main()
