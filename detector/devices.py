"""Where to compute, and how exactly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from detector.errors import InvalidInputError

__all__ = ["exact_32_bit", "threads", "usable_device"]


def usable_device(device: torch.device | str) -> torch.device:
    """A device that is there and can compute.

    Args:
        device: As torch names it: ``cpu``, ``cuda``, ``cuda:1``.

    Raises:
        InvalidInputError: If torch knows no such device or cannot use it.
    """
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).cpu()
    except (RuntimeError, AssertionError) as error:
        # A build without CUDA asserts; a missing driver, card or name is a RuntimeError.
        raise InvalidInputError(
            f"device should be one that this machine has, such as cpu, cuda or cuda:1. "
            f"Found {str(device)!r}: {str(error).partition(chr(10))[0].rstrip('.')}. "
            "Choose another, or see that its driver works.",
            field="device",
        ) from error
    return found


@contextmanager
def exact_32_bit(device: torch.device) -> Iterator[None]:
    """Evaluate a network in full 32-bit floats, wherever paths or predictions are kept.

    On NVIDIA cards convolutions would else round to TF32: gates near zero would open on one
    machine and not on another, and what was extracted would not be what is served.

    Args:
        device: Where the network is; there is nothing to do on CPUs.
    """
    if device.type != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn
    with cudnn.flags(
        enabled=cudnn.enabled,
        benchmark=cudnn.benchmark,
        deterministic=cudnn.deterministic,
        allow_tf32=False,
    ):
        yield


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with so many threads on the CPU, and with as many as before afterwards.

    Args:
        count: How many, positive.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
