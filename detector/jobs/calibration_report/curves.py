"""What fewer images do: to classifiers on path bits, and to the calibration itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detector.jobs.calibration_report.bench import Bench
from detector.jobs.calibration_report.judge import Judged
from detector.jobs.calibration_report.origin import Origin
from detector.jobs.calibration_report.rows import TableRows
from detector.jobs.calibration_report.sections import SizePoint
from detector.jobs.evaluation.estimates import Estimate
from detector.jobs.evaluation.fewer import few_shot
from detector.jobs.evaluation.measured_images import MeasuredImages
from detector.jobs.evaluation.report_sections import FewShotPoint

__all__ = ["few_shot_points", "size_points"]

_DRAWS: Final = 3
_SIZE_DRAWS: Final = 5
_SIZES: Final = (100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)


def few_shot_points(
    rows: TableRows, counts: Sequence[int], *, seed: int
) -> tuple[FewShotPoint, ...]:
    """The paper's classifiers on the path bits of few images, under the attack that succeeds most.

    They learn from fit images and are tested on attacked test images where the table has them, or
    else on the fit images of the other half.

    Args:
        rows: What the table has; without an attack that succeeds there is no point.
        counts: Images of each class to learn from; left out where a class has fewer successes.
        seed: Seed of the halves, of the draws and of the fits.
    """
    attacks = {each.attack: each for each in rows.fit.attacked if each.success.any()}
    if not attacks or not counts:
        return ()
    attacked = max(attacks.values(), key=lambda each: int(each.success.sum()))
    learnt, tested = attacked, _test_of(rows, attacked.attack)
    clean, negatives = rows.fit.clean, rows.negatives
    if tested is None:
        first = _first_half(clean, attacked, seed)
        learnt, tested = _of(attacked, first), _of(attacked, first, within=False)
        negatives = _of(clean, first, within=False)
    learnt = learnt.rows(np.isin(learnt.image_ids, clean.image_ids))
    if not learnt.success.any() or not len(negatives):
        return ()
    return few_shot(
        clean=clean,
        attacked=learnt,
        test_clean=negatives,
        test_attacked=tested,
        counts=counts,
        seeds=range(seed, seed + _DRAWS),
    )


def size_points(bench: Bench, budget: float, *, seed: int) -> tuple[SizePoint, ...]:
    """False alarms and attacks found by calibrations with fewer images.

    Args:
        bench: Judges of the default level.
        budget: False-alarm budget in (0, 1).
        seed: Seed of the draws.
    """
    held = len(bench.rows.calibration)
    clean = bench.clean.judge(bench.rows.clean)
    themselves = bench.rows.clean_origin is Origin.CROSS_CONFORMAL
    attacked = [
        bench.attacked.judge(each).rows(each.success)
        for each in bench.rows.attacked.attacked
        if each.success.any()
    ]
    generator = np.random.default_rng(seed)
    sizes = [*(size for size in _SIZES if size < held), held]
    points = []
    for size in sizes:
        draws = 1 if size == held else _SIZE_DRAWS
        chosen = [generator.permutation(held)[:size] for _ in range(draws)]
        points.append(
            SizePoint(
                images=size,
                false_alarms=_over_draws(
                    [
                        _flagged(_without(clean, each) if themselves else clean, each, budget)
                        for each in chosen
                    ]
                ),
                found=_over_draws([_found(attacked, each, budget) for each in chosen]),
            )
        )
    return tuple(points)


def _without(calibration: Judged, chosen: NDArray[np.int64]) -> Judged:
    """The calibration images that a smaller calibration does not use."""
    unused = np.ones(len(calibration.scores), dtype=np.bool_)
    unused[chosen] = False
    return calibration.rows(unused)


def _flagged(judged: Judged, chosen: NDArray[np.int64], budget: float) -> float | None:
    """Share of the images that a smaller calibration flags."""
    flags = judged.with_calibration(chosen).flags([budget]).get(budget)
    return None if flags is None or not len(flags) else float(flags.mean())


def _found(attacked: Sequence[Judged], chosen: NDArray[np.int64], budget: float) -> float | None:
    """Share of successful attacks that a smaller calibration flags, mean over attacks."""
    shares = [_flagged(each, chosen, budget) for each in attacked]
    known = [share for share in shares if share is not None]
    return float(np.mean(known)) if known else None


def _over_draws(values: list[float | None]) -> Estimate | None:
    """Mean, least and most; None where one of the draws cannot promise the budget."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return Estimate(value=float(np.mean(known)), low=min(known), high=max(known))


def _test_of(rows: TableRows, attack: str) -> MeasuredImages | None:
    parts = () if rows.test is None else rows.test.attacked
    return next((part for part in parts if part.attack == attack and part.success.any()), None)


def _first_half(clean: MeasuredImages, attacked: MeasuredImages, seed: int) -> NDArray[np.int64]:
    """Half of the images, by index; those that were attacked are shared out evenly."""
    generator = np.random.default_rng(seed)
    halves = [
        generator.permutation(ids)[: len(ids) // 2]
        for ids in (
            attacked.image_ids,
            clean.image_ids[~np.isin(clean.image_ids, attacked.image_ids)],
        )
    ]
    return np.concatenate(halves)


def _of(images: MeasuredImages, ids: NDArray[np.int64], *, within: bool = True) -> MeasuredImages:
    return images.rows(np.isin(images.image_ids, ids) == within)
