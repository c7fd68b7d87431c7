"""Whether the reports of two bundles let one of them take the other's place on a server.

A server cannot evaluate: that takes the images, attacks and hours. It is asked here, beside whoever
has the reports.
"""

from __future__ import annotations

from pathlib import Path

from detector.errors import DataError

__all__ = ["check_promotion"]


def check_promotion(*, digest: str, report: Path, active: str, against: Path) -> None:
    """Refuse to promote a bundle whose figures fell, or of which the reports tell nothing.

    Args:
        digest: Digest of the bundle that is to be promoted.
        report: Its report, as `offpath evaluate` wrote it.
        active: Digest of the bundle that answers.
        against: Its report, under the same plan.

    Raises:
        GateError: If a figure fell by more than chance, naming each of them.
        DataError: If a report cannot be read or is of another bundle, or the two are of different
            plans.
    """
    # Late, as it brings torch along: most changes of bundles come without reports.
    from detector.jobs.evaluation import EvaluationReport  # noqa: PLC0415
    from detector.jobs.evaluation.release_gate import require_promotion  # noqa: PLC0415

    candidate, released = EvaluationReport.read(report), EvaluationReport.read(against)
    for path, found, expected, place in (
        (report, candidate, digest, "to be promoted"),
        (against, released, active, "that answers"),
    ):
        if found.bundle_digest != expected:
            raise DataError(
                f"{path} should be the report of the bundle {place}, {expected or 'no digest'}. "
                f"Found one of {found.bundle_digest}. Give the report of that very bundle, or "
                "evaluate it."
            )
    require_promotion(released, candidate)
