"""Which level looks at which copies."""

from __future__ import annotations

import pytest

from detector.errors import DataError, InvalidInputError
from detector.jobs.level_plan import plan_levels
from detector.path_table import CLEAN, PathTable, SplitName
from detector.pipeline import LevelName

COPIES = ("flip", "shift:left", "bits:5")
FIT, CALIBRATION = (SplitName.FIT, CLEAN), (SplitName.CALIBRATION, CLEAN)


@pytest.mark.parametrize(
    ("copies", "expected"),
    [
        ((), {"fast": ()}),
        (("flip",), {"standard": ("flip",), "fast": ()}),
        (COPIES, {"standard": ("flip",), "fast": (), "thorough": COPIES}),
    ],
)
def test_a_table_gives_the_levels_that_it_has_copies_for(make_table, tmp_path, copies, expected):
    plan = plan_levels(PathTable(make_table(tmp_path, copies=copies)))
    assert list(plan.copies.items()) == list(expected.items())  # the default level first
    assert plan.widest == copies
    assert plan.dropped == ()


def test_the_default_level_is_the_users_choice(make_table, tmp_path):
    table = PathTable(make_table(tmp_path, copies=COPIES))
    for level in LevelName:
        plan = plan_levels(table, level)
        assert next(iter(plan.copies)) is level
        assert set(plan.copies) == set(LevelName)


@pytest.mark.parametrize(
    ("copies", "level", "found"),
    [
        ((), LevelName.STANDARD, "one of fast, for which"),
        (("flip",), LevelName.THOROUGH, "one of fast, standard, for which"),
    ],
)
def test_a_default_level_without_its_copies_is_refused(make_table, tmp_path, copies, level, found):
    table = PathTable(make_table(tmp_path, copies=copies))
    with pytest.raises(InvalidInputError, match=f"{found}.*Found {level}") as caught:
        plan_levels(table, level)
    assert caught.value.field == "default_level"


def test_copies_that_change_the_class_of_clean_images_are_dropped_and_named(make_table, tmp_path):
    table = PathTable(make_table(tmp_path, copies=("flip",), disturbed=("bits:5", "scale:0.75")))
    plan = plan_levels(table)
    assert plan.widest == ("flip",)
    assert LevelName.THOROUGH not in plan.copies
    assert [(found.copy, found.agreeing, found.images) for found in plan.dropped] == [
        ("bits:5", 60, 120),
        ("scale:0.75", 60, 120),
    ]


@pytest.mark.parametrize("without", [FIT, CALIBRATION])
def test_copies_that_one_of_the_two_held_out_splits_lacks_are_not_looked_at(
    make_table, tmp_path, without
):
    table = PathTable(
        make_table(tmp_path, copies=("flip",), disturbed=("bits:5",), uncopied=(without,))
    )
    plan = plan_levels(table)
    assert dict(plan.copies) == {LevelName.FAST: ()}
    assert plan.dropped == ()


@pytest.mark.parametrize("without", [FIT, CALIBRATION])
def test_both_held_out_splits_have_to_be_there(make_table, tmp_path, without):
    table = PathTable(make_table(tmp_path, leave_out=(without,)))
    with pytest.raises(DataError, match=f"should hold {without[0]} images, clean"):
        plan_levels(table)
