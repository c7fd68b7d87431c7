"""Whether a network can look at images of a size at all, before hours are spent on them."""

from __future__ import annotations

import torch
from torch import nn

from detector.errors import InvalidInputError
from detector.preprocessing import Preprocessing

__all__ = ["check_input_size"]


@torch.no_grad()
def check_input_size(network: nn.Module, preprocessing: Preprocessing) -> None:
    """Refuse an input that a network's layers shrink to nothing.

    Args:
        network: The plain network, in any mode; it is left as it was.
        preprocessing: How images become its input.

    Raises:
        InvalidInputError: If the network cannot look at images of this size.
    """
    was_training = network.training
    blank = torch.zeros(1, 3, preprocessing.height, preprocessing.width)
    try:
        network.eval()(blank)
    except RuntimeError as error:
        raise InvalidInputError(
            f"The network should be able to read images of {preprocessing.height} x "
            f"{preprocessing.width} pixels. Found that it is not: {error}. Give it larger ones "
            "(--input-size), or take another network (--backbone).",
            field="input_size",
        ) from error
    finally:
        network.train(was_training)
