"""Figures as text, and rows of them as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence

from detector.jobs.evaluation.estimates import Estimate, Share

__all__ = ["NONE_TEXT", "area_text", "budget_text", "change_text", "share_text", "table"]

NONE_TEXT = "–"  # noqa: RUF001  # a dash of tables, not a minus
"""What a table shows where there is nothing."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, with the figures of all columns but the first to the right.

    Args:
        head: Name of each column.
        rows: The cells.
    """
    rule = ["---", *["---:"] * (len(head) - 1)]
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in (head, *rows)]
    return "\n".join(f"| {line} |" for line in (lines[0], " | ".join(rule), *lines[1:]))


def area_text(estimate: Estimate | None) -> str:
    """An area with its interval, as ``.971 [.965, .977]``."""
    if estimate is None:
        return NONE_TEXT
    value, low, high = (_point(each) for each in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def change_text(estimate: Estimate | None) -> str:
    """By how much an area changes, with its interval, as ``+.012 [-.003, +.027]``."""
    if estimate is None:
        return NONE_TEXT
    value, low, high = (
        f"{'-' if each < 0 else '+'}{_point(abs(each))}"
        for each in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} [{low}, {high}]"


def share_text(share: Share | Estimate | None) -> str:
    """A share in per cent with its interval, as ``4.2 % [3.8, 4.6]``."""
    if share is None:
        return NONE_TEXT
    value = share.rate if isinstance(share, Share) else share.value
    return f"{value * 100:.1f} % [{share.low * 100:.1f}, {share.high * 100:.1f}]"


def budget_text(budget: float) -> str:
    """A budget in per cent, as ``5 %`` or ``0.1 %``."""
    return f"{budget * 100:g} %"


def _point(value: float) -> str:
    text = f"{value:.3f}"
    return text.removeprefix("0")
