"""Attacks made on other networks, of which the attacker knows all, and judged on this one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from detector.data import Splits
from detector.errors import DataError
from detector.jobs.evaluation.measured_rows import MeasuredRows
from detector.jobs.evaluation.plan import EvaluationPlan
from detector.jobs.evaluation.report_sections import TransferFigures
from detector.jobs.evaluation.scored import detection_figures
from detector.jobs.evaluation.subject import Subject
from detector.jobs.surrogate import Surrogate
from detector.path_table import PathTable

__all__ = ["load_surrogates", "transfer_figures"]


def load_surrogates(
    paths: Sequence[Path], network: nn.Module, splits: Splits
) -> tuple[Surrogate, ...]:
    """Load the networks that attacks go through, and refuse before the long work what cannot.

    Args:
        paths: Their files, as ``offpath train`` writes them, plain or decoupled.
        network: The network that is evaluated.
        splits: Its data set, with its preprocessing.

    Raises:
        DataError: If a file cannot be read, a network is given twice or is the evaluated one, or
            its classes or its input size are others.
    """
    found: dict[str, Path] = {}
    surrogates = []
    for path in paths:
        surrogate = Surrogate.load(path)
        surrogate.check_fits(network, splits)
        if surrogate.label in found:
            raise DataError(
                "Networks that attacks go through should be different from each other. Found "
                f"{found[surrogate.label]} and {path} with the same weights. Give one of them."
            )
        found[surrogate.label] = path
        surrogates.append(surrogate)
    return tuple(surrogates)


def transfer_figures(
    surrogates: Sequence[Surrogate],
    subject: Subject,
    rows: PathTable,
    test: MeasuredRows,
    plan: EvaluationPlan,
) -> tuple[TransferFigures, ...]:
    """How well each fused score finds the attacks that were made on each other network.

    Args:
        surrogates: The other networks.
        subject: The scores.
        rows: Attacked test images, the plan's transfer attacks through each network among them.
        test: Test images, for the negatives and the resamples.
        plan: Which attacks.

    Raises:
        DataError: If an attack is not among the rows.
    """
    return tuple(_through(each, subject, rows, test, plan) for each in surrogates)


def _through(
    surrogate: Surrogate,
    subject: Subject,
    rows: PathTable,
    test: MeasuredRows,
    plan: EvaluationPlan,
) -> TransferFigures:
    attacked = [
        subject.measure(rows, spec.label, limit=plan.images)
        for spec in surrogate.named_in(plan.transfer_specs)
    ]
    return TransferFigures(
        network=surrogate.name,
        digest=surrogate.digest,
        scores=tuple(
            detection_figures(each.name, each, attacked, test, plan) for each in subject.contenders
        ),
    )
