"""Controls that run with every evaluation: what they find is known before.

An evaluation that tells attacked images from clean ones although nothing was done to them, or
although nobody knows which are attacked, measures its own mistakes. Such a run ends with an error
after its report is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detector.attacks import AttackSpec
from detector.errors import ControlError, InvalidInputError
from detector.jobs.evaluation.arrays import checked_flags, checked_scores
from detector.jobs.evaluation.bootstrap import Resamples
from detector.jobs.evaluation.estimates import Share

__all__ = [
    "ControlName",
    "ControlResult",
    "identity_control",
    "noise_control",
    "null_control",
    "require_controls",
    "shuffle_control",
    "shuffled",
]

_CONFIDENCE = 0.999
"""Of the intervals of controls: one that holds fails once in a thousand runs, not in twenty."""
_REPLICATES = 1000


class ControlName(StrEnum):
    """A control, by name."""

    NULL = "null"
    """An attack of epsilon 0 is not told from other clean images."""
    IDENTITY = "identity"
    """An attack of epsilon 0 leaves every score as it was."""
    SHUFFLE = "label-shuffle"
    """Rows that are called attacked by chance are not told from the others."""
    GAUSSIAN_NOISE = "noise-gaussian"
    """How much Gaussian noise of an attack's norm is flagged is known."""
    UNIFORM_NOISE = "noise-uniform"
    """The same for uniform noise."""
    SIGN_NOISE = "noise-sign"
    """The same for noise of random sign."""


_NOISE = (ControlName.GAUSSIAN_NOISE, ControlName.UNIFORM_NOISE, ControlName.SIGN_NOISE)


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlResult:
    """What a control found.

    Args:
        name: Which control.
        subject: What it was run on, as ``standard, learnt``.
        holds: Whether it found what it should.
        figure: What it found; None where there was nothing to measure.
        low: Lower end of the figure's interval.
        high: Its upper end.
        expectation: What it should find, in words.
    """

    name: ControlName
    subject: str
    holds: bool
    figure: float | None
    low: float | None
    high: float | None
    expectation: str


def null_control(
    clean: ArrayLike, unchanged: ArrayLike, *, subject: str, seed: int
) -> ControlResult:
    """Images that went through the attack's whole path with epsilon 0 look like clean ones.

    Args:
        clean: Scores of clean images that did *not* go through it, shape (N,). Their own clean
            scores would be the same numbers, and the area one half whatever else went wrong.
        unchanged: Scores of the others after it, shape (M,).
        subject: What the scores are, as ``standard, learnt``.
        seed: Seed of the resamples.
    """
    return _no_better_than_chance(
        ControlName.NULL, subject, checked_scores(clean, "clean"), unchanged, seed
    )


def identity_control(
    before: ArrayLike,
    after: ArrayLike,
    *,
    subject: str,
    tolerance: float = 1e-4,
    most: float = 0.01,
) -> ControlResult:
    """An attack with epsilon 0 leaves the score of each image as it was.

    Far sharper than the null control, which sees only what shifts many images.

    Args:
        before: Scores of images that nothing was done to, shape (M,).
        after: Scores of the same images after the attack's whole path, in the same order.
        subject: What the scores are.
        tolerance: Least change that counts. Other batches round otherwise in the last bit.
        most: Share of images that may change, as that last bit now and then turns a gate.

    Raises:
        InvalidInputError: If the scores are not finite or not of the same number of images.
    """
    first, second = checked_scores(before, "before"), checked_scores(after, "after")
    if len(first) != len(second):
        raise InvalidInputError(
            f"after should be {len(first)} scores. Found {len(second)}.", field="after"
        )
    moved = np.abs(first - second) > tolerance
    changed = Share.of(int(moved.sum()), len(moved))
    return ControlResult(
        name=ControlName.IDENTITY,
        subject=subject,
        holds=changed.rate <= most,
        figure=changed.rate,
        low=changed.low,
        high=changed.high,
        expectation=f"at most {most:.0%} of the scores change by more than {tolerance:g}",
    )


def shuffled(attacked: ArrayLike, *, seed: int) -> NDArray[np.bool_]:
    """The same number of rows called attacked, chosen by chance.

    Args:
        attacked: Which rows are, bool of shape (N,).
        seed: Seed of the choice.
    """
    return np.random.default_rng(seed).permutation(checked_flags(attacked, "attacked"))


def shuffle_control(
    scores: ArrayLike, called_attacked: ArrayLike, *, subject: str, seed: int
) -> ControlResult:
    """Rows that are called attacked by chance are not told from the others.

    Where the score was fitted again on shuffled labels, this also shows whether rows of the test
    were among those of the fit.

    Args:
        scores: Scores of all rows, clean and attacked, shape (N,).
        called_attacked: What `shuffled` gave for them, both values among it, bool of shape (N,).
        subject: What the scores are.
        seed: Seed of the resamples.
    """
    values = checked_scores(scores, "scores")
    called = checked_flags(called_attacked, "called_attacked", len(values))
    return _no_better_than_chance(
        ControlName.SHUFFLE, subject, values[~called], values[called], seed
    )


def noise_control(flagged: dict[str, Share], *, subject: str) -> tuple[ControlResult, ...]:
    """How much noise of the attacks' norm is flagged; holds where each kind was measured.

    A detector of attacks should flag noise hardly more than clean images. How often it does is a
    figure with a target, not a mistake of the evaluation: what breaks the control is not knowing.

    Args:
        flagged: Share that is flagged, by label such as ``noise-sign:8/255``.
        subject: What flags them, as ``standard, learnt at 0.05``.
    """
    named = [(AttackSpec.parse(label), share) for label, share in flagged.items()]
    results = [
        _noise_result(ControlName(spec.name.value), f"{spec.label}; {subject}", share)
        for spec, share in named
        if spec.name.value in _NOISE
    ]
    measured = [result.name for result in results]
    results += [_noise_result(name, subject, None) for name in _NOISE if name not in measured]
    return tuple(results)


def require_controls(results: Sequence[ControlResult]) -> None:
    """Refuse a run whose controls broke or were left out; call it when the report is written.

    Args:
        results: What the controls found.

    Raises:
        ControlError: If a control does not hold, or one of them was not run.
    """
    run = {result.name for result in results}
    broken = [_sentence(result) for result in results if not result.holds]
    broken += [f"{name}: it was not run" for name in ControlName if name not in run]
    if broken:
        raise ControlError(
            f"Every control of an evaluation should hold. Found {len(broken)} that "
            f"{'does' if len(broken) == 1 else 'do'} not: {'; '.join(broken)}. "
            "The report is written, but its figures mean nothing before the cause is found."
        )


def _no_better_than_chance(
    name: ControlName, subject: str, clean: NDArray[np.float64], attacked: ArrayLike, seed: int
) -> ControlResult:
    scores = checked_scores(attacked, "attacked")
    resamples = Resamples(
        negatives=len(clean), images=len(scores), replicates=_REPLICATES, seed=seed
    )
    area = resamples.rank(clean).auroc(scores, np.arange(len(scores)))
    found = area.normal_estimate(_CONFIDENCE)
    return ControlResult(
        name=name,
        subject=subject,
        holds=found.contains(0.5),
        figure=found.value,
        low=found.low,
        high=found.high,
        expectation=f"an AUROC of 0.5 within the {_CONFIDENCE:.1%} interval",
    )


def _noise_result(name: ControlName, subject: str, share: Share | None) -> ControlResult:
    return ControlResult(
        name=name,
        subject=subject,
        holds=share is not None,
        figure=None if share is None else share.rate,
        low=None if share is None else share.low,
        high=None if share is None else share.high,
        expectation="its flag rate is measured",
    )


def _sentence(result: ControlResult) -> str:
    found = (
        "nothing"
        if result.figure is None or result.low is None or result.high is None
        else f"{result.figure:.4f} [{result.low:.4f}, {result.high:.4f}]"
    )
    return f"{result.name} ({result.subject}): expected {result.expectation}, found {found}"
