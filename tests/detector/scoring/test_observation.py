"""What the network tells about images and copies, row beside row."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from detector.paths import PathLayout
from detector.scoring import Observation

LAYOUT = PathLayout(names=("one", "two"), sizes=(2, 3))


@pytest.fixture
def seen(make_seen) -> Observation:
    return make_seen(torch.arange(6) % 3, LAYOUT, copies=("flip", "bits:5"))


def same(found: Observation, expected: Observation) -> bool:
    return (
        torch.equal(found.class_logits, expected.class_logits)
        and torch.equal(found.path.logits, expected.path.logits)
        and found.copies.keys() == expected.copies.keys()
        and all(same(found.copies[name], expected.copies[name]) for name in found.copies)
    )


def test_it_says_what_was_predicted_for_how_many(seen) -> None:
    assert (len(seen), seen.classes) == (6, 3)
    assert seen.predicted.tolist() == [0, 1, 2, 0, 1, 2]


def test_rows_are_taken_from_images_and_copies_alike(seen) -> None:
    for rows in (slice(1, 3), torch.tensor([4, 0]), torch.arange(6) > 2):
        found = seen[rows]
        assert torch.equal(found.class_logits, seen.class_logits[rows])
        for name, copy in found.copies.items():
            assert torch.equal(copy.path.bits, seen.copies[name].path.bits[rows])


def test_parts_put_together_are_the_whole(seen) -> None:
    assert same(Observation.concatenate([seen[:2], seen[2:2], seen[2:]]), seen)


def test_no_part_or_a_part_without_a_copy_cannot_be_put_together(seen) -> None:
    with pytest.raises(ValueError, match="at least one part"):
        Observation.concatenate([])
    with pytest.raises(KeyError, match="flip"):
        Observation.concatenate([seen, dataclasses.replace(seen, copies={})])


def test_class_logits_have_to_fit_the_paths(seen) -> None:
    for logits in (seen.class_logits[:5], seen.class_logits[:, :1], seen.class_logits[0]):
        with pytest.raises(ValueError, match=r"should have the shape \(6, K\), K at least 2"):
            Observation(path=seen.path, class_logits=logits)


def test_copies_have_to_fit_the_images(seen, make_seen) -> None:
    narrow = PathLayout(names=("one",), sizes=(5,))
    for copy in (
        seen[:5],
        make_seen(torch.arange(6) % 4, LAYOUT, classes=4),
        make_seen(torch.arange(6) % 3, narrow),
    ):
        with pytest.raises(ValueError, match=r"The copy flip should have logits of shape \(6, 3\)"):
            dataclasses.replace(seen, copies={"flip": copy})
