"""Which copies a table has that suit the data, and which of them each level looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from detector.errors import DataError, InvalidInputError
from detector.jobs.copy_agreement import CopyAgreement, copy_agreements, unsuitable_copies
from detector.path_table import PathTable, SplitName
from detector.pipeline import LevelName

__all__ = ["LevelPlan", "plan_levels"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelPlan:
    """What each level looks at.

    Args:
        copies: By the level's name the names of its copies, the default level first.
        dropped: Copies that the table has and that do not leave clean predictions alone.
    """

    copies: Mapping[LevelName, tuple[str, ...]]
    dropped: tuple[CopyAgreement, ...]

    @property
    def widest(self) -> tuple[str, ...]:
        """Names of all copies that some level looks at."""
        return max(self.copies.values(), key=len)


def plan_levels(
    table: PathTable,
    default: LevelName | None = None,
    *,
    wanted: tuple[str, ...] | None = None,
) -> LevelPlan:
    """The levels that a table has the copies for.

    One pass is always there; the first copy that suits the data gives the standard level, and all
    of them the thorough one.

    Args:
        table: The path table.
        default: Which level is meant where none is named; by default the standard one where the
            table has copies.
        wanted: Names of the copies that may be looked at, the standard level's first; by default
            all that the table has of clean fit and calibration images, in its order.

    Raises:
        DataError: If the table cannot be read, or lacks a copy that is wanted.
        InvalidInputError: If it has not the copies for the default level.
    """
    suitable, dropped = _suitable_copies(table, wanted)
    copies: dict[LevelName, tuple[str, ...]] = {LevelName.FAST: ()}
    if suitable:
        copies[LevelName.STANDARD] = suitable[:1]
    if len(suitable) > 1:
        copies[LevelName.THOROUGH] = suitable
    chosen = default or (LevelName.STANDARD if suitable else LevelName.FAST)
    if chosen not in copies:
        raise InvalidInputError(
            f"The default level should be one of {', '.join(copies)}, for which the table has "
            f"copies that suit the data. Found {chosen}. Run `offpath extract` with --copy flip "
            "and others.",
            field="default_level",
        )
    return LevelPlan(copies={chosen: copies[chosen], **copies}, dropped=dropped)


def _suitable_copies(
    table: PathTable, wanted: tuple[str, ...] | None
) -> tuple[tuple[str, ...], tuple[CopyAgreement, ...]]:
    """Copies that both held-out splits have and that leave clean predictions alone; the others."""
    calibration = set(table.part(SplitName.CALIBRATION).copies)
    held = [name for name in table.part(SplitName.FIT).copies if name in calibration]
    missing = [name for name in wanted or () if name not in held]
    if missing:
        raise DataError(
            f"{table.folder} should hold the copies {', '.join(missing)} of clean fit and "
            f"calibration images. Found {', '.join(held) or 'none'}. Run `offpath extract` for "
            "both splits with --copy, or calibrate with copies that are there."
        )
    chosen = tuple(held) if wanted is None else tuple(dict.fromkeys(wanted))
    if not chosen:
        return (), ()
    dropped = unsuitable_copies(found for found in copy_agreements(table) if found.copy in chosen)
    unfit = {found.copy for found in dropped}
    return tuple(name for name in chosen if name not in unfit), dropped
