"""The evaluation: one frozen plan, one report, and the tables, plots and gate made from it."""

from pathlib import Path

from detector.jobs.evaluation.evaluate import EvaluateOptions, evaluate
from detector.jobs.evaluation.plain_network import PlainTwin
from detector.jobs.evaluation.plan import EvaluationPlan
from detector.jobs.evaluation.report import EvaluationReport
from detector.jobs.evaluation.side_by_side import compared_markdown

__all__ = [
    "DEFAULT_PLAN",
    "RELEASED_REPORT",
    "EvaluateOptions",
    "EvaluationPlan",
    "EvaluationReport",
    "PlainTwin",
    "compared_markdown",
    "evaluate",
]

DEFAULT_PLAN = Path(__file__).parent / "plans" / "cifar10.toml"
"""What the bundled default is evaluated under."""

RELEASED_REPORT = Path(__file__).parent / "released" / "cifar10.json"
"""What the bundled default reached under that plan: a new default must not fall below it."""
