"""Where the network runs: one choice for every command."""

from __future__ import annotations

import torch

from detector.devices import usable_device

__all__ = ["chosen_device"]


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
