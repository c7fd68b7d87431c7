"""Keeps what an attacker reached, so that a run that was stopped need not attack again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from detector.errors import DataError, InvalidInputError
from detector.jobs.evaluation.report_sections import AdaptiveFigures
from detector.jobs.plain_values import PlainValueError, read_plain, to_plain
from detector.storage import atomic_path

__all__ = ["kept_figures"]


def kept_figures(
    path: Path, facts: dict[str, Any], measure: Callable[[], AdaptiveFigures]
) -> AdaptiveFigures:
    """Figures of an earlier run, or else those of this one, written for the next.

    Args:
        path: File of the figures.
        facts: What they are made from, as plain JSON values; figures of anything else are made
            again and replaced.
        measure: Makes them.

    Raises:
        DataError: If the file cannot be read.
        StorageError: If it cannot be written.
    """
    if path.exists():
        found = _read(path)
        if found.get("facts") == facts:
            return _figures(path, found.get("figures"))
    figures = measure()
    text = json.dumps({"facts": facts, "figures": to_plain(figures)}, indent=1, allow_nan=False)
    with atomic_path(path) as temporary:
        temporary.write_text(f"{text}\n", "utf-8")
    return figures


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from error
    return found if isinstance(found, dict) else {}


def _figures(path: Path, fields: object) -> AdaptiveFigures:
    try:
        return read_plain(AdaptiveFigures, fields)
    except (PlainValueError, InvalidInputError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} should hold figures that an earlier run kept. Found: {error}. "
        "Delete it; they are made again."
    )
