"""What is evaluated, frozen before the first test image is looked at."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.attacks import AttackName, AttackSpec
from detector.errors import InvalidInputError
from detector.jobs.evaluation.plan_checks import (
    check_among,
    check_attacks,
    check_corruptions,
    check_families,
    check_names,
    check_noise,
    check_same_norm,
    check_shares,
    check_whole,
)
from detector.jobs.plain_values import PlainValueError, read_plain, to_plain

_ONE_STEP = 1 / 255 - 1e-9

__all__ = ["AdaptivePlan", "CorruptionPlan", "EvaluationPlan"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CorruptionPlan:
    """Natural changes of clean images, at each of some severities.

    Args:
        names: Names of the corruptions.
        severities: How strong, each from 1 to 5.

    Raises:
        InvalidInputError: If a name or a severity is not so.
    """

    names: tuple[str, ...] = ()
    severities: tuple[int, ...] = (1, 2, 3, 4, 5)

    def __post_init__(self) -> None:
        check_names("corruptions.names", self.names, least=0)
        check_whole("corruptions.severities", self.severities, least=1, most=5)
        check_corruptions("corruptions.names", self.names)

    @property
    def specs(self) -> tuple[AttackSpec, ...]:
        """Each corruption at each severity."""
        return tuple(
            AttackSpec.parse(f"{name}:{severity}")
            for name in self.names
            for severity in self.severities
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptivePlan:
    """Attackers who know the detector.

    Args:
        levels: Names of the levels that are attacked.
        epsilons: Radii in [0, 1] pixel scale, rising, each at least 1/255. Images have 8 bits: a
            radius of 0.01 is used up to 2/255.
        images: How many test images are attacked.
        steps: Gradient steps of each search.
        restarts: Starts of each search.
        queries: Steps of the search without gradients.

    Raises:
        InvalidInputError: If a field is not so.
    """

    levels: tuple[str, ...] = ()
    epsilons: tuple[float, ...] = (0.01, 8 / 255)
    images: int = 50
    steps: int = 100
    restarts: int = 1
    queries: int = 200

    def __post_init__(self) -> None:
        check_names("adaptive.levels", self.levels, least=0)
        check_shares("adaptive.epsilons", self.epsilons)
        if min(self.epsilons) < _ONE_STEP:
            raise InvalidInputError(
                "adaptive.epsilons should be at least 1/255, one step of 8 bits. "
                f"Found {min(self.epsilons):g}, which leaves no pixel to change.",
                field="adaptive.epsilons",
            )
        for name in ("images", "steps", "restarts", "queries"):
            check_whole(f"adaptive.{name}", (getattr(self, name),), least=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationPlan:
    """What is evaluated and how; `digest` names it.

    Args:
        name: A short name, in lower case with hyphens.
        attacks: Attacks on test images, as `AttackSpec.parse` reads them; kept as their labels.
        families: Attack names by family; one family at a time is left out of fitting. Each attack
            of the plan belongs to exactly one.
        levels: Names of the levels of compute.
        fusions: Names of the fused scores.
        seed: Seed of everything random but the repeated draws.
        seeds: Seeds of the repeated draws: few images, few calibration images, trees.
        images: How many test images are attacked; all others are the clean negatives.
        noise: Noise of each of the three kinds, each of the epsilon of an attack.
        corruptions: Natural changes of clean images.
        shift_images: How many test images are corrupted.
        baselines: Names of the scores to compare with, on the same network.
        budgets: False-alarm budgets, each in (0, 1).
        few_shot: Images a class that classifiers on bits learn from.
        few_shot_attack: The attack of the plan that they learn and are tested on.
        calibration_sizes: Numbers of calibration images to try.
        transfer: Attacks that are made on other networks, where the command gives some.
        adaptive: Attackers who know the detector; run where the command asks for them.
        bootstrap: Number of resamples behind each interval, at least 100.
        confidence: Of the intervals, in (0, 1).

    Raises:
        InvalidInputError: If a field is not so.
    """

    name: str
    attacks: tuple[str, ...]
    families: dict[str, tuple[AttackName, ...]]
    levels: tuple[str, ...]
    fusions: tuple[str, ...]
    seed: int = 0
    seeds: tuple[int, ...] = (0, 1, 2)
    images: int = 1000
    noise: tuple[str, ...] = ("noise-gaussian:8/255", "noise-uniform:8/255", "noise-sign:8/255")
    corruptions: CorruptionPlan = CorruptionPlan()
    shift_images: int = 500
    baselines: tuple[str, ...] = ()
    budgets: tuple[float, ...] = (0.05, 0.01, 0.001)
    few_shot: tuple[int, ...] = (1, 5, 10, 50, 500)
    few_shot_attack: str = "pgd:8/255"
    calibration_sizes: tuple[int, ...] = ()
    transfer: tuple[str, ...] = ()
    adaptive: AdaptivePlan = AdaptivePlan()
    bootstrap: int = 1000
    confidence: float = 0.95

    def __post_init__(self) -> None:
        object.__setattr__(self, "attacks", check_attacks("attacks", self.attacks))
        transfer = check_attacks("transfer", self.transfer, least=0)
        object.__setattr__(self, "transfer", transfer)
        object.__setattr__(self, "noise", check_noise("noise", self.noise))
        check_same_norm("noise", self.noise_specs, self.attack_specs)
        check_families(self.families, self.attack_specs)
        check_names("name", (self.name,))
        for named in ("levels", "fusions"):
            check_names(named, getattr(self, named))
        check_names("baselines", self.baselines, least=0)
        check_whole("seed", (self.seed,), least=0)
        check_whole("seeds", self.seeds, least=0)
        check_whole("images", (self.images,), least=1)
        check_whole("shift_images", (self.shift_images,), least=1)
        check_whole("bootstrap", (self.bootstrap,), least=100)
        for counts in ("few_shot", "calibration_sizes"):
            check_whole(counts, getattr(self, counts), least=1, empty=True)
        if self.few_shot:
            learnt = check_among("few_shot_attack", self.few_shot_attack, self.attacks)
            object.__setattr__(self, "few_shot_attack", learnt)
        check_shares("budgets", self.budgets)
        check_shares("confidence", (self.confidence,))

    @classmethod
    def read(cls, path: Path) -> EvaluationPlan:
        """Read and check a plan.

        Args:
            path: A TOML file with the fields above; those with a default may be left out.

        Raises:
            InvalidInputError: If it cannot be read or a field is missing, unknown or wrong; the
                message names the file and the field.
        """
        try:
            fields = tomllib.loads(path.read_text("utf-8"))
        except OSError as error:
            raise InvalidInputError(
                f"{path} should be a readable plan. Found: {error.strerror}.", field="plan"
            ) from error
        except ValueError as error:  # also bytes that are not UTF-8
            raise InvalidInputError(
                f"{path} should be TOML. Found: {error}.", field="plan"
            ) from error
        try:
            return read_plain(cls, fields)
        except (PlainValueError, InvalidInputError) as error:
            raise InvalidInputError(f"{path}: {error}", field=error.field) from error

    @property
    def attack_specs(self) -> tuple[AttackSpec, ...]:
        """The attacks."""
        return tuple(AttackSpec.parse(label) for label in self.attacks)

    @property
    def transfer_specs(self) -> tuple[AttackSpec, ...]:
        """The attacks that are made on other networks."""
        return tuple(AttackSpec.parse(label) for label in self.transfer)

    @property
    def noise_specs(self) -> tuple[AttackSpec, ...]:
        """The noise."""
        return tuple(AttackSpec.parse(label) for label in self.noise)

    @property
    def corruption_specs(self) -> tuple[AttackSpec, ...]:
        """The corruptions, each at each severity."""
        return self.corruptions.specs

    def as_json(self) -> dict[str, Any]:
        """The whole plan as plain JSON values."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @property
    def canonical_json(self) -> str:
        """The whole plan, defaults included, spelt in the one way that `digest` is made of."""
        return json.dumps(to_plain(self), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, as hex: figures of plans with the same digest compare."""
        return hashlib.sha256(self.canonical_json.encode()).hexdigest()

    def family(self, attack: str) -> str:
        """The family that an attack belongs to.

        Args:
            attack: Label of an attack of the plan.

        Raises:
            InvalidInputError: If no family holds it.
        """
        name = AttackSpec.parse(attack).name
        for family, members in self.families.items():
            if name in members:
                return family
        raise InvalidInputError(
            f"{attack} should belong to a family of the plan {self.name}. Found none.",
            field="families",
        )

    def left_out(self) -> dict[str, tuple[str, ...]]:
        """The attacks of the plan by family: what is unknown when the family is left out."""
        found: dict[str, list[str]] = {}
        for label in self.attacks:
            found.setdefault(self.family(label), []).append(label)
        return {family: tuple(labels) for family, labels in found.items()}
