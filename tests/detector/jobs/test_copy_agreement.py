"""Which copies a network's predictions bear, counted on clean images."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from detector.copies import BitDepth, Flip
from detector.errors import CalibrationError, InvalidInputError
from detector.jobs.copy_agreement import CopyAgreement, copy_agreements, unsuitable_copies
from detector.jobs.extract import extract
from detector.path_table import SplitName


@pytest.mark.parametrize(("agreeing", "images"), [(0, 9), (9, 9), (45, 50), (970, 1000)])
def test_the_interval_is_that_of_wilson(agreeing, images) -> None:
    found = CopyAgreement.of("flip", agreeing=agreeing, images=images)
    expected = binomtest(agreeing, images).proportion_ci(0.95, method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.low <= found.share <= found.high


def test_agreement_is_counted_on_clean_images_against_their_own_prediction(
    tiny_network, tiny_splits, tmp_path, options
) -> None:
    copies = (Flip(), BitDepth(bits=7))
    table = extract(tiny_network, tiny_splits, options(tmp_path, attacks=(), copies=copies))
    found = copy_agreements(table, SplitName.TEST)
    assert [each.copy for each in found] == ["flip", "bits:7"]
    for each in found:
        batches = list(table.with_copies(SplitName.TEST, batch_size=7))
        agreeing = sum(
            int((batch.copies[each.copy].predictions == batch.original.predictions).sum())
            for batch in batches
        )
        assert (each.agreeing, each.images) == (agreeing, 50)


def test_a_table_without_copies_of_clean_images_is_refused(
    tiny_network, tiny_splits, tmp_path, options
) -> None:
    table = extract(tiny_network, tiny_splits, options(tmp_path, attacks=()))
    with pytest.raises(CalibrationError, match=r"copies of clean test images.*--copy flip"):
        copy_agreements(table, SplitName.TEST)


def test_a_copy_that_is_not_surely_harmless_is_dropped() -> None:
    kept = CopyAgreement.of("shift:left", agreeing=960, images=1000)
    unsure = CopyAgreement.of("scale:0.75", agreeing=9, images=10)
    wrong = CopyAgreement.of("flip", agreeing=500, images=1000)
    assert unsuitable_copies([kept, unsure, wrong]) == (unsure, wrong)
    assert unsuitable_copies([kept, wrong], least=0.4) == ()


@pytest.mark.parametrize("least", [0.0, 1.0, -1.0, float("nan")])
def test_a_threshold_out_of_range_is_refused(least) -> None:
    with pytest.raises(InvalidInputError, match="least should lie"):
        unsuitable_copies([], least=least)
