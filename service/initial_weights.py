"""Weights that a training starts from, as the command line names them."""

# ruff: noqa: PLC0415  # commands import late: help and errors should not wait for torch

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from detector.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["initial_weights"]


def initial_weights(name: str) -> dict[str, Tensor]:
    """A state dict, from a file or by a name of torchvision.

    Args:
        name: A file (.safetensors, .pt), or a name such as ResNet18_Weights.IMAGENET1K_V1.

    Raises:
        DataError: If it is neither, or the file holds something else.
    """
    import torch
    from safetensors.torch import load_file
    from torchvision.models import get_weight

    path = Path(name)
    state: object
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        elif path.exists():
            # Tensors only: a checkpoint must not be able to run code.
            state = torch.load(path, map_location="cpu", weights_only=True)
        else:
            state = get_weight(name).get_state_dict()
    except Exception as error:  # bytes that are no pickle raise whatever they hit
        lines = str(error).splitlines() or [type(error).__name__]
        raise _weights_error(name, lines[0]) from error
    if not isinstance(state, dict):
        raise _weights_error(name, f"a {type(state).__name__} inside")
    strange = [key for key, value in state.items() if not isinstance(value, torch.Tensor)]
    if strange:
        raise _weights_error(name, f"{strange[0]!r} inside, which is no tensor")
    return state


def _weights_error(name: str, found: str) -> DataError:
    return DataError(
        "--weights should be a state dict of tensors (.safetensors, .pt) or a name of "
        f"torchvision's weights. Found {name!r}: {found.rstrip('.')}. "
        "Give another file or name, or leave it out."
    )
