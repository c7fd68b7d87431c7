"""Attackers that ask until they succeed or are found to run a campaign."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detector.attacks import Square
from tests.figures.campaign_callers import Answers, Caller
from tests.figures.hop_skip_jump import HopSkipJump

__all__ = ["Attacked", "hop_skip_jump", "square"]

_EPSILON = 8 / 255
_FLAGGED = 1e-3  # an image just flagged, or abstained from, has not passed either


@dataclass(frozen=True, kw_only=True, slots=True)
class Attacked:
    """How an attack on one image went.

    Args:
        queries: Images that it sent.
        found: Whether the last of them began a campaign.
    """

    queries: int
    found: bool


class _OverError(Exception):
    """The attack was found, or has no more queries."""


class _Attacker(nn.Module):
    """The network as a caller sees it who wants another class and the verdict ON_PATH.

    Args:
        caller: Who asks the server.
        label: The class that the attacker wants to leave.
        most_queries: After so many the attack ends.
    """

    def __init__(self, caller: Caller, *, label: int, most_queries: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))  # attacks ask for the device of the weights
        self._caller = caller
        self._label = label
        self._most_queries = most_queries
        self.queries = 0
        self.found = False

    def forward(self, images: Tensor) -> Tensor:
        """Class logits; of images that are flagged the label's is highest by what they lack."""
        answers = self._ask(images)
        logits = answers.class_logits.clone()
        others = logits.clone()
        others[:, self._label] = -torch.inf
        ahead = torch.where(answers.flagged, answers.lacking + _FLAGGED, -torch.inf)
        logits[:, self._label] = logits[:, self._label].maximum(others.amax(1) + ahead)
        return logits

    def passes(self, images: Tensor) -> Tensor:
        """Whether each image gets another class and is not flagged, bool of shape (B,)."""
        answers = self._ask(images)
        return (answers.predicted != self._label) & ~answers.flagged

    def _ask(self, images: Tensor) -> Answers:
        answers = self._caller.ask((images * 255).round().to(torch.uint8))
        for began in answers.began:
            self.queries += 1
            self.found = began
            if began or self.queries == self._most_queries:
                raise _OverError
        return answers


def square(caller: Caller, image: Tensor, label: int, *, most_queries: int) -> Attacked:
    """Square at 8/255 until it succeeds, is found or has no more queries.

    Args:
        caller: Who asks the server; nobody else does.
        image: Predicted as its label, uint8 of shape (3, H, W).
        label: Its class.
        most_queries: After so many the attack ends.
    """
    model = _Attacker(caller, label=label, most_queries=most_queries)
    attack = Square(epsilon=_EPSILON, queries=most_queries)
    with contextlib.suppress(_OverError):
        attack(model, image[None] / 255, torch.tensor([label]), seed=0)
    return Attacked(queries=model.queries, found=model.found)


def hop_skip_jump(
    caller: Caller, image: Tensor, start: Tensor, label: int, *, most_queries: int
) -> Attacked:
    """HopSkipJump until it is found or has no more queries.

    Args:
        caller: Who asks the server; nobody else does.
        image: Predicted as its label, uint8 of shape (3, H, W).
        start: An image of another class that is not flagged.
        label: The class of the image.
        most_queries: After so many the attack ends.
    """
    model = _Attacker(caller, label=label, most_queries=most_queries)
    with contextlib.suppress(_OverError):
        HopSkipJump()(model.passes, image / 255, start / 255, seed=0)
    return Attacked(queries=model.queries, found=model.found)
