"""What an engine is: it runs independent pieces of work somewhere, in any order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

__all__ = ["Engine", "Report", "Work"]

Item = TypeVar("Item")
Piece_contra = TypeVar("Piece_contra", contravariant=True)
Found = TypeVar("Found")
Made_co = TypeVar("Made_co", covariant=True)

Report = Callable[[int, str], None]
"""Told how many images were finished, and of what."""


class Work(Protocol[Piece_contra, Made_co]):
    """What is done with each piece: it depends on nothing but the piece and what it holds itself.

    Engines send it to other processes: it and its pieces can be pickled.
    """

    def __call__(self, piece: Piece_contra, report: Report, /) -> Made_co:
        """Do one piece.

        Args:
            piece: Which.
            report: Told of progress within the piece.
        """


class Engine(ABC):
    """Runs pieces of work that depend on nothing but themselves.

    The engine is another one's business (this process, Ray): here is only what jobs need of it. As
    no piece knows where or in which order it runs, every engine gives the same results.
    """

    @property
    def device(self) -> str | None:
        """Where pieces compute, as torch names it; None for where the job itself does."""
        return None

    def completed(
        self, work: Work[Item, Found], pieces: Sequence[Item], report: Report | None = None
    ) -> Iterator[tuple[int, Found]]:
        """Each piece's index with what came of it, as they are finished.

        Args:
            work: What is done with each.
            pieces: The pieces; what is lost with a machine is done again elsewhere.
            report: Told of progress.

        Raises:
            OffpathError: The first that a piece raised; those that were finished stay so.
            EngineError: If the engine is lost, or a piece ends its process each time it is tried.
        """
        return self._completed(work, pieces, report or _nobody)

    def in_order(self, work: Work[Item, Found], pieces: Sequence[Item]) -> Iterator[Found]:
        """What came of each piece, in the order of the pieces; for sums that have to agree.

        Args:
            work: What is done with each.
            pieces: The pieces.

        Raises:
            OffpathError: As `completed` does.
        """
        early: dict[int, Found] = {}
        following = 0
        for index, found in self.completed(work, pieces):
            early[index] = found
            while following in early:
                yield early.pop(following)
                following += 1

    @abstractmethod
    def _completed(
        self, work: Work[Item, Found], pieces: Sequence[Item], report: Report
    ) -> Iterator[tuple[int, Found]]:
        """Run the pieces, each once as far as anybody can see."""


def _nobody(_images: int, _note: str) -> None:
    """Nobody is told."""
