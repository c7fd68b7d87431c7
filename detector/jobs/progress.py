"""Progress of a long job: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as RichProgress,
)

__all__ = ["Progress"]

_LINE_EVERY_S = 30.0


class Progress:
    """Counts images against a total and tells speed and time left.

    Args:
        title: What is being done.
        total: Images in all.
        done: Images that an earlier run finished already.
        quiet: Whether to show nothing, as in all but one of several processes.
    """

    def __init__(self, title: str, total: int, *, done: int = 0, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet)
        self._title = title
        self._total = total
        self._first = done
        self._done = done
        self._started = self._last_line = time.monotonic()
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID = self._bar.add_task(title, total=total, completed=done, speed="")

    def advance(self, images: int, note: str = "") -> None:
        """Count some more images; `note` stands behind the speed."""
        self._done += images
        now = time.monotonic()
        speed = (self._done - self._first) / max(now - self._started, 1e-9)
        text = f"{speed:,.0f} images/s {note}".rstrip()
        self._bar.update(self._task, completed=self._done, speed=text)
        if not self._console.is_terminal and now - self._last_line >= _LINE_EVERY_S:
            self._last_line = now
            left_s = (self._total - self._done) / max(speed, 1e-9)
            self._console.print(
                f"{self._title}: {self._done:,}/{self._total:,} images, {text}, "
                f"{left_s / 60:.0f} min left",
                highlight=False,
            )

    @classmethod
    @contextmanager
    def shown(
        cls, title: str, total: int, *, done: int = 0, quiet: bool = False
    ) -> Iterator[Progress]:
        """A progress that is shown until the block ends."""
        progress = cls(title, total, done=done, quiet=quiet)
        with progress._bar:
            yield progress
