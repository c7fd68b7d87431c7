"""What the machine has to compute on: one choice for every command."""

from __future__ import annotations

import os

import torch

from detector.devices import usable_device

__all__ = ["chosen_device", "usable_cores"]


def chosen_device(name: str) -> torch.device:
    """The device that a name stands for, on this machine.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:1``, or ``auto`` for CUDA where there is a GPU.

    Raises:
        InvalidInputError: If it is no such name, or there is no such GPU.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return usable_device(name)


def usable_cores() -> int:
    """Cores that this process may use: fewer than the machine has where it is pinned to some."""
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
