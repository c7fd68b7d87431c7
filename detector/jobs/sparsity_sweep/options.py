"""Which networks a sweep trains, and what it measures of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from detector.attacks import AttackSpec
from detector.devices import usable_device
from detector.errors import InvalidInputError
from detector.jobs.train import TrainingOptions

__all__ = ["STANDARD_SHARES", "MeasurePlan", "SweepOptions"]

STANDARD_SHARES = (1.0, 0.8, 0.6, 0.5, 0.4, 0.3)
"""Target shares of open gates: all of them, down to a third."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasurePlan:
    """What is measured of each network; the same of all, so that they compare.

    Args:
        attacks: Labels of attacks, as ``pgd:8/255``, at least one, none of them noise.
        attacked: Test images that each of them is let loose on, positive.
        train_images: Train images that path distributions come from, positive.
        timed: Test images that times are taken of, one by one, positive.
        replicates: Bootstrap resamples behind the intervals, at least 2.
        seed: Seed of attacks, fitting and resamples.

    Raises:
        InvalidInputError: If a number is too small, or an attack cannot be read, is noise or is
            named twice.
    """

    attacks: tuple[str, ...] = ("pgd:8/255", "pgd:2/255", "cw-l2")
    attacked: int = 300
    train_images: int = 5000
    timed: int = 200
    replicates: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("attacked", 1), ("train_images", 1), ("timed", 1), ("replicates", 2)):
            value = getattr(self, name)
            if value < least:
                raise InvalidInputError(
                    f"{name} should be at least {least}. Found {value}.", field=name
                )
        labels = [spec.label for spec in self.specs]
        if not labels or len(set(labels)) < len(labels):
            raise InvalidInputError(
                "Attacks should be named, each once. "
                f"Found {', '.join(self.attacks) or 'none'}. Name some, such as pgd:8/255.",
                field="attacks",
            )
        noise = [spec.label for spec in self.specs if spec.build().is_benign]
        if noise:
            raise InvalidInputError(
                f"Attacks should mean harm. Found {noise[0]}, which is noise. Leave it out.",
                field="attacks",
            )

    @property
    def specs(self) -> tuple[AttackSpec, ...]:
        """The attacks."""
        return tuple(map(AttackSpec.parse, self.attacks))


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepOptions:
    """Which networks are trained, how, and where they are measured.

    Args:
        training: How each is trained; its output is the folder of the whole sweep.
        shares: Target share of open gates of each, in [0, 1], in the order of training.
        plan: What is measured of each.
        device: Where images are attacked and looked at, as torch names it; times are always taken
            on the CPU.

    Raises:
        InvalidInputError: If a share is out of range or there twice, there is none, the training
            is to stop before its end, or the device cannot be used.
    """

    training: TrainingOptions
    shares: tuple[float, ...] = STANDARD_SHARES
    plan: MeasurePlan = field(default_factory=MeasurePlan)
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not self.shares:
            raise InvalidInputError(
                "There should be at least one share of open gates. Found none.", field="open_share"
            )
        for share in self.shares:
            if not 0 <= share <= 1:
                raise InvalidInputError(
                    f"A share of open gates should lie in [0, 1]. Found {share:g}. "
                    "Give a share, such as 0.6 for 60 %.",
                    field="open_share",
                )
            if self.shares.count(share) > 1:
                raise InvalidInputError(
                    f"Each share of open gates should be asked for once. Found {share:g} "
                    f"{self.shares.count(share)} times. Leave one out.",
                    field="open_share",
                )
        if self.training.stop_after_steps is not None:
            raise InvalidInputError(
                "A sweep should train its networks to their end. "
                f"Found a stop after {self.training.stop_after_steps} steps. Leave it out.",
                field="stop_after_steps",
            )
        usable_device(self.device)

    def folder(self, share: float) -> Path:
        """Where one network is trained and measured, as ``open-0.6`` within the output.

        Args:
            share: Its target share of open gates.
        """
        return self.training.output / f"open-{float(share)}"
