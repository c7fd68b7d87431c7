"""Puts the weights of a plain network that was trained elsewhere into a backbone."""

from __future__ import annotations

from textwrap import shorten

from torch import Tensor, nn

from detector.errors import DataError

__all__ = ["fit_initial_weights"]

_AUXILIARY = ("aux1.", "aux2.")
"""GoogLeNet's second and third classifier, which helped to train it and are not part of ours."""

_COUNTER = ".num_batches_tracked"
"""Weights that were saved long ago lack it, as torchvision's do; nothing here reads it."""

_WRAPPED = "module."
"""What torch's parallel wrappers put before each name."""

_NAME_THE_BACKBONE = "Name the network that they belong to (--backbone), or give other weights."


def fit_initial_weights(network: nn.Module, weights: object, *, fresh_head: bool = False) -> None:
    """Fill a network.

    Args:
        network: The backbone, as `detector.decoupling.build_backbone` makes it.
        weights: Its state dict; what it has of auxiliary classifiers is left out, and so is what
            a parallel wrapper put before each name.
        fresh_head: Whether the last layer keeps the weights that it has where the given ones are
            for another number of classes, since it is trained further.

    Raises:
        DataError: If this is no state dict, or one of another network or number of classes.
    """
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in weights.items()
    ):
        raise DataError(
            "Initial weights should be a state dict of the recipe's backbone: tensors by name. "
            f"Found {_described(weights)}. Save network.state_dict() alone."
        )
    given = _unwrapped(weights)
    own = {name: value for name, value in network.state_dict().items() if name in given}
    _check_names(network, given)
    differing = [name for name in own if own[name].shape != given[name].shape]
    head = _head(network)
    if differing and all(name.rpartition(".")[0] == head for name in differing):
        if not fresh_head:
            raise _other_classes(own, given, differing[0])
        given |= {name: own[name] for name in differing}
    elif differing:
        raise DataError(
            "Initial weights should be a state dict of the recipe's backbone, with "
            f"{tuple(own[differing[0]].shape)} values in {differing[0]!r}. "
            f"Found {tuple(given[differing[0]].shape)}. {_NAME_THE_BACKBONE}"
        )
    network.load_state_dict(given)


def _unwrapped(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights by the names that the network itself has for them."""
    if weights and all(name.startswith(_WRAPPED) for name in weights):
        weights = {name.removeprefix(_WRAPPED): tensor for name, tensor in weights.items()}
    return {name: tensor for name, tensor in weights.items() if not name.startswith(_AUXILIARY)}


def _check_names(network: nn.Module, given: dict[str, Tensor]) -> None:
    """Refuse the weights of another network, in a sentence that does not list all layers."""
    own = network.state_dict()
    missing = [name for name in own if name not in given and not name.endswith(_COUNTER)]
    strange = [name for name in given if name not in own]
    if missing or strange:
        differences = [
            f"{what} {shorten(', '.join(names), 120)} ({len(names)} of {len(among)})"
            for what, names, among in (("no", missing, own), ("besides", strange, given))
            if names
        ]
        raise DataError(
            "Initial weights should be a state dict of the recipe's backbone, with the names of "
            f"its layers. Found {' and '.join(differences)}. {_NAME_THE_BACKBONE}"
        )


def _head(network: nn.Module) -> str:
    """Name of the layer that gives the class logits: the last linear one."""
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    return linear[-1] if linear else ""


def _other_classes(own: dict[str, Tensor], given: dict[str, Tensor], name: str) -> DataError:
    return DataError(
        f"Initial weights should be for the {len(own[name])} classes of the data set. Found "
        f"{len(given[name])} in {name!r}. Let a new last layer be trained (--plain-epochs says "
        "for how long), or give weights of a network that was trained on these classes."
    )


def _described(weights: object) -> str:
    if not isinstance(weights, dict):
        return f"a {type(weights).__name__}"
    strange = next(
        (name, value)
        for name, value in weights.items()
        if not (isinstance(name, str) and isinstance(value, Tensor))
    )
    return f"a {type(strange[1]).__name__} under {strange[0]!r}"
