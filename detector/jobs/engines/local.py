"""The engine that needs nothing: this process, one piece after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from typing_extensions import override

from detector.jobs.engines.base import Engine, Report, Work

__all__ = ["LocalEngine"]

Item = TypeVar("Item")
Found = TypeVar("Found")


class LocalEngine(Engine):
    """Runs every piece in this process, in order."""

    @override
    def _completed(
        self, work: Work[Item, Found], pieces: Sequence[Item], report: Report
    ) -> Iterator[tuple[int, Found]]:
        for index, piece in enumerate(pieces):
            yield index, work(piece, report)
