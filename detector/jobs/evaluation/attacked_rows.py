"""Makes the rows that a plan asks for: test images, clean, attacked, noisy and corrupted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from detector.attacks import AttackSpec
from detector.copies import parse_copy
from detector.data import Splits
from detector.decoupling import DecoupledNetwork
from detector.jobs.engines import Engine
from detector.jobs.evaluation.plan import EvaluationPlan
from detector.jobs.extract import ExtractOptions, extract
from detector.jobs.surrogate import Surrogate
from detector.path_table import PathTable, SplitName

__all__ = ["NULL_ATTACK", "RowsWanted", "extract_rows"]

NULL_ATTACK = "pgd:0"
"""An attack of no strength: whatever it changes is a fault of the evaluation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RowsWanted:
    """What is extracted for an evaluation.

    Args:
        plan: What is evaluated.
        copies: Copies that the levels and the baselines look at.
        shift_copies: Copies that the default level looks at: corruptions are seen at it alone.
            None where no corruption is wanted.
        surrogates: Other networks on which the plan's transfer attacks are made.
    """

    plan: EvaluationPlan
    copies: tuple[str, ...]
    shift_copies: tuple[str, ...] | None
    surrogates: tuple[Surrogate, ...] = ()


def extract_rows(
    network: DecoupledNetwork,
    splits: Splits,
    wanted: RowsWanted,
    folder: Path,
    *,
    device: str,
    engine: Engine | None = None,
) -> PathTable:
    """Extract what a plan needs of the test split; what is there already is skipped.

    Args:
        network: The network that is evaluated.
        splits: The data set.
        wanted: What is extracted.
        folder: Folder of the path table.
        device: Where the network runs, as torch names it.
        engine: Where rows are made; here by default.

    Raises:
        DataError: If the folder holds a table of another network or data set.
        StorageError: If a shard cannot be written.
        AttackError: If an attack broke a property that it has to keep.
    """
    plan = wanted.plan

    def rows(
        attacks: Iterable[AttackSpec],
        copies: Sequence[str],
        limit: int | None,
        surrogate: Surrogate | None = None,
    ) -> PathTable:
        options = ExtractOptions(
            output=folder,
            splits=(SplitName.TEST,),
            attacks=tuple(attacks),
            copies=tuple(parse_copy(name) for name in copies),
            limit=limit,
            device=device,
            seed=plan.seed,
        )
        return extract(network, splits, options, surrogate=surrogate, engine=engine)

    rows((), wanted.copies, None)
    attacks = (AttackSpec.parse(NULL_ATTACK), *plan.attack_specs, *plan.noise_specs)
    table = rows(attacks, wanted.copies, plan.images)
    for surrogate in wanted.surrogates:
        table = rows(plan.transfer_specs, wanted.copies, plan.images, surrogate)
    if plan.corruption_specs and wanted.shift_copies is not None:
        table = rows(plan.corruption_specs, wanted.shift_copies, plan.shift_images)
    return table
