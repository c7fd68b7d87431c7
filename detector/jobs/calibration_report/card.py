"""The model card of a bundle, out of its manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detector.bundle import MODEL_CARD, BundleManifest
from detector.errors import StorageError
from detector.jobs.calibration_report.sections import CardLevel, ModelCard

__all__ = ["model_card"]


def model_card(folder: Path, manifest: BundleManifest, budgets: Sequence[float]) -> ModelCard:
    """What a bundle is and how it was made.

    Args:
        folder: Folder of the bundle.
        manifest: Its manifest.
        budgets: False-alarm budgets, each in (0, 1).

    Raises:
        StorageError: If the model card in the folder cannot be read.
    """
    return ModelCard(
        digest=manifest.digest,
        created=manifest.created,
        backbone=manifest.backbone.value,
        layers=manifest.layout.layers,
        gates=manifest.layout.gates,
        width=manifest.preprocessing.width,
        height=manifest.preprocessing.height,
        levels=tuple(
            CardLevel(
                name=level.name.value,
                passes=1 + len(level.copies),
                copies=level.copies,
                fusion=level.fusion.value,
            )
            for level in manifest.levels
        ),
        alpha=manifest.alpha,
        guarantee=manifest.guarantee,
        confidence=manifest.confidence,
        needed=tuple(manifest.promise.minimum_images(budget) for budget in budgets),
        calibration_counts=manifest.calibration_counts,
        provenance=manifest.provenance,
        text=_text(folder / MODEL_CARD),
    )


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StorageError(
            f"{path} should be readable text. Found: {error}. Mend it or take it away."
        ) from error
