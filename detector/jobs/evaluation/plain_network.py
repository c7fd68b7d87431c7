"""The same scores on the network before decoupling, under attacks of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from detector.data import Splits
from detector.decoupling import DecoupledNetwork, is_always_open
from detector.errors import DataError
from detector.fingerprints import network_digest
from detector.jobs.engines import Engine
from detector.jobs.evaluation.attacked_rows import RowsWanted, extract_rows
from detector.jobs.evaluation.control_run import run_controls
from detector.jobs.evaluation.controls import ControlResult
from detector.jobs.evaluation.estimates import Share
from detector.jobs.evaluation.measured_rows import MeasuredRows
from detector.jobs.evaluation.plan import EvaluationPlan
from detector.jobs.evaluation.report_sections import PlainNetworkFigures
from detector.jobs.evaluation.scored import baseline_figures, contender_figures
from detector.jobs.evaluation.subject import Recipe, Subject
from detector.path_table import PathTable, Place
from detector.scoring import FusionName
from detector.weights import NetworkInfo, load_gated

__all__ = ["PlainNetwork", "PlainTwin"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlainTwin:
    """The network before decoupling.

    Args:
        network: Its file, as ``offpath train`` writes it.
        table: Path table that was extracted with it: the images of the bundle's own table, with
            the same copies; attacks are not needed.
    """

    network: Path
    table: Place


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PlainNetwork:
    """The plain network, and what was fitted on it.

    Args:
        network: The network, with all its gates open.
        info: What it is.
        subject: The scores that need no gates: the one-class fusion, which reads activations,
            class logits and copies alone, and the baselines.
    """

    network: DecoupledNetwork
    info: NetworkInfo
    subject: Subject

    @classmethod
    def of(cls, twin: PlainTwin, recipe: Recipe, plan: EvaluationPlan) -> PlainNetwork:
        """Load the network and fit on its table what needs no gates.

        Args:
            twin: Where it is.
            recipe: How the bundle's scores are fitted.
            plan: What is evaluated.

        Raises:
            DataError: If the network has gates that close, or the table is of another one.
            CalibrationError: If the table holds too few images.
        """
        network, info = load_gated(twin.network)
        if not is_always_open(network):
            raise DataError(
                f"{twin.network} should be a network before decoupling. Found gates in it. "
                "Give the plain network that `offpath train` wrote beside it."
            )
        table = PathTable(twin.table)
        if table.info.network != network_digest(network):
            raise DataError(
                f"{twin.table} should have been extracted with {twin.network}. Found another "
                "network. Extract the plain network's paths into a folder of their own."
            )
        own = replace(recipe, fusions=(FusionName.ONE_CLASS,))
        return cls(network=network, info=info, subject=Subject.of(table, own, plan.baselines))

    def measure(
        self,
        splits: Splits,
        plan: EvaluationPlan,
        folder: Path,
        *,
        device: str,
        engine: Engine | None = None,
    ) -> tuple[PlainNetworkFigures, tuple[ControlResult, ...]]:
        """Attack the plain network under the plan.

        Args:
            splits: The data set.
            plan: What is evaluated.
            folder: Folder for its test rows; what is there already is used.
            device: Where the network runs, as torch names it.
            engine: Where rows are made; here by default.

        Returns:
            The figures, and what the controls found on them.

        Raises:
            DataError: If network and data set do not belong together.
            StorageError: If rows cannot be written.
        """
        subject, names = self.subject, self.info.class_names
        wanted = RowsWanted(plan=plan, copies=subject.copies, shift_copies=None)
        prepared = replace(splits, preprocessing=self.info.preprocessing)
        rows = extract_rows(self.network, prepared, wanted, folder, device=device, engine=engine)
        test = MeasuredRows.of(subject, rows, plan)
        right = test.clean.predicted == test.clean.labels
        figures = PlainNetworkFigures(
            accuracy=Share.of(int(right.sum()), len(right), confidence=plan.confidence),
            scores=(
                *(
                    contender_figures(each, test, plan, names, name=each.name)
                    for each in subject.contenders
                ),
                *(baseline_figures(name, subject, test, plan) for name in plan.baselines),
            ),
        )
        return figures, run_controls(subject, test, plan, network="plain network, ")
