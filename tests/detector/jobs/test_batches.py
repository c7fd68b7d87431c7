import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.data import ArraySource, TrainImages
from detector.decoupling.recipes import Crop
from detector.errors import DataError
from detector.jobs.batches import (
    BatchOrder,
    TrainingBatches,
    read_from,
    seeded,
    training_loader,
)
from detector.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(
    height=6, width=5, shorter_side=6, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
)


def batches(count=10, batch_size=4, crop=Crop.PAD_4, side=(6, 5), seed=3):
    pixels = np.random.default_rng(0).integers(1, 256, (count, *side, 3), dtype=np.uint8)
    source = ArraySource(pixels, np.arange(count) % 2, ["even", "odd"])
    images = TrainImages(source, np.arange(count))
    return TrainingBatches(images, PREPROCESSING, crop, BatchOrder(count, batch_size, seed))


def test_a_seeded_generator_depends_on_every_part_and_on_their_order():
    parts = [(0,), (1,), (0, 1), (1, 0), (0, 0), (5, 7, 2), (5, 7, 3)]
    draws = [int(torch.randint(2**62, (), generator=seeded(*part))) for part in parts]
    assert len(set(draws)) == len(parts)
    again = [int(torch.randint(2**62, (), generator=seeded(*part))) for part in parts]
    assert draws == again


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 50), st.integers(1, 60), st.integers(0, 9), st.integers(0, 9))
def test_each_epoch_visits_no_image_twice_and_leaves_out_less_than_a_batch(
    images, batch_size, seed, epoch
):
    order = BatchOrder(images, batch_size, seed)
    order.move_to(epoch, 0)
    found = list(order)
    visited = [index for batch in found for index in batch]
    assert len(found) == len(order) >= 1
    assert len(set(visited)) == len(visited) > images - order.batch_size
    assert {len(batch) for batch in found} == {min(batch_size, images)}


def test_epochs_differ_and_an_epoch_entered_late_goes_on_with_the_same_batches():
    order = BatchOrder(20, 4, seed=1)
    first = list(order)
    order.move_to(1, 0)
    assert list(order) != first
    order.move_to(0, 3)
    assert list(order) == first[3:]


def test_a_batch_depends_on_seed_epoch_and_its_rows_alone():
    rows = [4, 1, 7]
    found = batches()
    reference, labels = found.__getitems__(rows)
    torch.manual_seed(99)
    assert torch.equal(batches().__getitems__(rows)[0], reference)
    assert labels.tolist() == [0, 1, 1]
    found.order.move_to(1, 0)
    assert not torch.equal(found.__getitems__(rows)[0], reference)
    assert not torch.equal(batches(seed=4).__getitems__(rows)[0], reference)


@pytest.mark.parametrize("crop", Crop)
def test_augmentation_leaves_the_global_random_state_alone(crop):
    before = torch.get_rng_state()
    pixels, _ = batches(crop=crop, side=(9, 8)).__getitems__([0, 1])
    assert torch.equal(torch.get_rng_state(), before)
    assert pixels.shape == (2, 3, 6, 5)
    assert pixels.dtype == torch.float32


def test_a_padded_crop_shifts_by_at_most_four_pixels_and_flips_half_of_the_time():
    found = batches(count=2, batch_size=1)
    original = PREPROCESSING(found.images.read([0], PREPROCESSING))[0]
    padded = torch.nn.functional.pad(original, (4,) * 4, value=-1.0)  # black, normalised
    windows = padded.unfold(1, 6, 1).unfold(2, 5, 1).permute(1, 2, 0, 3, 4)  # (9, 9, 3, 6, 5)
    shifts, flips = set(), 0
    for epoch in range(100):
        found.order.move_to(epoch, 0)
        pixels, _ = found[0]
        views = torch.stack([pixels, pixels.flip(2)])
        matches = (views[:, None, None] == windows).flatten(3).all(dim=3).nonzero().tolist()
        assert matches
        flipped, *shift = matches[0]
        shifts.add(tuple(shift))
        flips += flipped
    assert len(shifts) > 40  # of 81; 100 draws reach about 58, with a deviation of 3
    assert abs(flips - 50) < 26  # five standard deviations of a fair coin


def test_a_resized_crop_differs_from_epoch_to_epoch_and_comes_back():
    found = batches(crop=Crop.RESIZED, side=(16, 12))
    first, _ = found.__getitems__([0, 1, 2])
    found.order.move_to(1, 0)
    assert not torch.equal(found.__getitems__([0, 1, 2])[0], first)
    found.order.move_to(0, 0)
    assert torch.equal(found.__getitems__([0, 1, 2])[0], first)


def test_the_loader_hands_out_whole_batches_in_the_order_of_the_epoch():
    found = batches()
    loaded = list(training_loader(found, workers=0))
    assert len(loaded) == 2
    for (pixels, labels), rows in zip(loaded, found.order, strict=True):
        assert torch.equal(pixels, found.__getitems__(rows)[0])
        assert labels.tolist() == [row % 2 for row in rows]


def test_processes_that_read_ahead_make_the_same_batches():
    found = batches()
    found.order.move_to(2, 1)
    (alone,) = training_loader(found, workers=0)
    (ahead,) = training_loader(found, workers=1)
    assert torch.equal(alone[0], ahead[0])
    assert torch.equal(alone[1], ahead[1])


def unreadable(_source, index):
    raise DataError(f"{index}.png should be a readable image. Found half of one. Repair it.")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_is_told_alike_whoever_reads_it(workers, monkeypatch):
    monkeypatch.setattr(ArraySource, "load", unreadable)
    found = batches(side=(7, 7))  # of another size than the input, so that each image is loaded
    with pytest.raises(DataError) as caught:
        list(read_from(training_loader(found, workers=workers)))
    assert str(caught.value).endswith("should be a readable image. Found half of one. Repair it.")
    assert "Traceback" not in str(caught.value)
