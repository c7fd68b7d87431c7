"""What every attacker who knows the detector has to keep; a subclass only searches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from detector.attacks.adaptive.chase import Chase, Evasion
from detector.attacks.adaptive.target import Target
from detector.attacks.balls import LinfBall
from detector.attacks.base import check_epsilon
from detector.attacks.result import check_labels
from detector.errors import AttackError, InvalidInputError

__all__ = ["DEFAULT_BUDGETS", "AdaptiveAttack", "OnProgress"]

DEFAULT_BUDGETS = (0.05, 0.01, 0.5)
"""False-alarm budgets: the usual one, a small one, and one that is generous to the detector."""

OnProgress = Callable[[int, int], None]
"""Told how many parts of the work are done, and of how many."""


@dataclass(frozen=True, kw_only=True)
class AdaptiveAttack(ABC):
    """Looks for images that are misclassified and that the detector does not flag.

    Whatever a search follows, its candidates are rounded to 8 bits within the ball and judged
    with hard gates, and for each budget the least suspicious misclassified one is kept. Images
    that no budget flags any more are left alone, which is most of the time saved.

    Args:
        epsilon: Largest change of a pixel value, in [0, 1] pixel scale.
        budgets: False-alarm budgets to stay under, at least one, each in (0, 1).

    Raises:
        InvalidInputError: If an option is out of range.
    """

    epsilon: float
    budgets: tuple[float, ...] = DEFAULT_BUDGETS

    def __post_init__(self) -> None:
        check_epsilon(self.epsilon)
        if not self.budgets or not all(0 < budget < 1 for budget in self.budgets):
            raise InvalidInputError(
                "budgets should be at least one share, each between 0 and 1. "
                f"Found {self.budgets}. Write 0.05 for 5 %.",
                field="budgets",
            )

    @property
    def ball(self) -> LinfBall:
        """Where the attacked images lie."""
        return LinfBall(self.epsilon)

    def __call__(
        self,
        target: Target,
        images: Tensor,
        labels: Tensor,
        *,
        seed: int = 0,
        on_progress: OnProgress | None = None,
    ) -> Evasion:
        """Attack one batch.

        Args:
            target: The detector.
            images: uint8 images of the network's input size, shape (B, 3, H, W).
            labels: True classes, int64 of shape (B,).
            seed: Fixes what is random; the global generators are left as they are.
            on_progress: Called after each search or query.

        Returns:
            The best image of each for each budget, judged anew.

        Raises:
            InvalidInputError: If images or labels are not of this kind.
            AttackError: If the search left the ball.
        """
        _check(target, images, labels)
        images, labels = images.to(target.device), labels.to(target.device)
        with target.held_still():
            chase = Chase(target, images, labels, self.ball, self.budgets)
            check_labels(labels, classes=chase.clean.class_logits.shape[1])
            self._search(chase, torch.Generator().manual_seed(seed), on_progress or _silent)
            found = chase.result()
        self._check_ball(found, images.cpu())
        return found

    @abstractmethod
    def _search(self, chase: Chase, generator: torch.Generator, on_progress: OnProgress) -> None:
        """Offer candidates to the chase, for the images that are open in it.

        Args:
            chase: The images, and the best found so far.
            generator: What randomness comes from, on the CPU.
            on_progress: To be told about each search or query.
        """

    def _check_ball(self, found: Evasion, images: Tensor) -> None:
        change = (found.images.to(torch.int16) - images.to(torch.int16)).abs()
        excess = float(change.amax()) / 255 - self.epsilon
        if excess > 1e-6:
            raise AttackError(
                f"{type(self).__name__} should stay within {self.ball}. "
                f"Found pixels {excess:g} outside of it."
            )


def _silent(_done: int, _of: int) -> None:
    """Tell nobody."""


def _check(target: Target, images: Tensor, labels: Tensor) -> None:
    expected = (3, target.preprocessing.height, target.preprocessing.width)
    if images.dtype != torch.uint8 or tuple(images.shape[1:]) != expected or not len(images):
        raise InvalidInputError(
            f"Images to attack should be uint8 of shape (B, {', '.join(map(str, expected))}), "
            f"B at least 1. Found {images.dtype} of shape {tuple(images.shape)}.",
            field="images",
        )
    if labels.shape != images.shape[:1] or labels.dtype != torch.int64:
        raise InvalidInputError(
            f"Labels should be int64 of shape {tuple(images.shape[:1])}. "
            f"Found {labels.dtype} of shape {tuple(labels.shape)}.",
            field="labels",
        )
