"""Digests that tell whether two results came from the same thing."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

__all__ = ["network_digest"]


def network_digest(network: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and bytes of all weights and statistics, as hex.

    Args:
        network: Any network, on any device, in any mode.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
