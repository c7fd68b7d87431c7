"""Puts the weights of a plain network that was trained elsewhere into a backbone."""

from __future__ import annotations

from torch import Tensor, nn

from detector.errors import DataError

__all__ = ["fit_initial_weights"]

_AUXILIARY = ("aux1.", "aux2.")
"""GoogLeNet's second and third classifier, which helped to train it and are not part of ours."""


def fit_initial_weights(network: nn.Module, weights: object) -> None:
    """Fill a network.

    Args:
        network: The backbone, as `detector.decoupling.build_backbone` makes it.
        weights: Its state dict; what it has of auxiliary classifiers is left out.

    Raises:
        DataError: If this is no state dict, or one of another network.
    """
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in weights.items()
    ):
        raise DataError(
            "Initial weights should be a state dict of the recipe's backbone: tensors by name. "
            f"Found {_described(weights)}. Save network.state_dict() alone."
        )
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith(_AUXILIARY)}
    try:
        network.load_state_dict(kept)
    except RuntimeError as error:
        raise DataError(
            f"Initial weights should be a state dict of the recipe's backbone. Found: {error}"
        ) from error


def _described(weights: object) -> str:
    if not isinstance(weights, dict):
        return f"a {type(weights).__name__}"
    strange = next(
        (name, value)
        for name, value in weights.items()
        if not (isinstance(name, str) and isinstance(value, Tensor))
    )
    return f"a {type(strange[1]).__name__} under {strange[0]!r}"
