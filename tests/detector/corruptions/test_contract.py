"""What every corruption keeps, at each severity it is given."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from detector.corruptions import CorruptionName, corruption_class, parse_corruption
from detector.errors import InvalidInputError

SIZES = [(1, 1), (1, 7), (5, 1), (3, 2), (9, 13)]
DRAWN = {
    CorruptionName.GAUSSIAN_NOISE,
    CorruptionName.SHOT_NOISE,
    CorruptionName.IMPULSE_NOISE,
    CorruptionName.GLASS_BLUR,
    CorruptionName.MOTION_BLUR,
    CorruptionName.SNOW,
    CorruptionName.FROST,
    CorruptionName.FOG,
    CorruptionName.ELASTIC_TRANSFORM,
}

every_corruption = pytest.mark.parametrize("name", CorruptionName)


def some_images(height: int, width: int, count: int = 3) -> torch.Tensor:
    """Smooth blots with fine grain: a blur shows on the grain, a bend on the blots."""
    generator = torch.Generator().manual_seed(height * 100 + width)
    blots = torch.rand(count, 3, 5, 5, generator=generator)
    smooth = functional.interpolate(blots, (height, width), mode="bilinear")
    grain = 0.2 * torch.rand(count, 3, height, width, generator=generator)
    return ((0.8 * smooth + grain) * 255).to(torch.uint8)


@every_corruption
def test_a_name_reads_as_it_was_written(name) -> None:
    corruption = parse_corruption(f"{name}:2")
    assert type(corruption) is corruption_class(name)
    assert corruption.kind is name
    assert corruption.name == f"{name}:2"
    assert parse_corruption(f" {name.upper()} : 2 ") == corruption
    assert len({corruption, parse_corruption(f"{name}:2"), parse_corruption(f"{name}:3")}) == 2


@every_corruption
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("severity", [1, 2, 5])
def test_shape_and_type_stay_and_the_input_is_never_changed(name, size, severity) -> None:
    images = some_images(*size)
    before = images.clone()
    corrupted = corruption_class(name)(severity=severity)(images)
    assert (corrupted.shape, corrupted.dtype) == (images.shape, torch.uint8)
    assert corrupted.is_contiguous()
    corrupted.fill_(7)
    assert torch.equal(images, before)


@every_corruption
@pytest.mark.parametrize("severity", [1, 5])
def test_an_image_depends_on_seed_and_place_and_not_on_what_is_beside_it(name, severity) -> None:
    images = some_images(32, 32, count=5)
    corruption = corruption_class(name)(severity=severity)
    torch.manual_seed(1)
    together = corruption(images, seed=3, first=10)
    torch.manual_seed(2)
    assert torch.equal(corruption(images, seed=3, first=10), together)
    alone = [corruption(images[row : row + 1], seed=3, first=10 + row) for row in range(5)]
    assert torch.equal(torch.cat(alone), together)


@every_corruption
def test_what_is_random_differs_from_seed_to_seed_and_place_to_place(name) -> None:
    images = some_images(16, 16, count=1).expand(2, -1, -1, -1)
    corruption = corruption_class(name)(severity=5)
    first = corruption(images)
    assert torch.equal(first[0], first[1]) == (name not in DRAWN)
    assert torch.equal(first, corruption(images, seed=1)) == (name not in DRAWN)


@every_corruption
def test_how_images_lie_in_memory_does_not_matter(name) -> None:
    images = some_images(9, 13)
    corruption = corruption_class(name)(severity=4)
    other = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(corruption(other), corruption(images))


@every_corruption
def test_the_global_generator_is_left_alone(name) -> None:
    before = torch.random.get_rng_state()
    corruption_class(name)(severity=1)(some_images(8, 8))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    "name",
    # Elastic transform, as published, bends more and pulls the whole image less.
    sorted(set(CorruptionName) - {CorruptionName.ELASTIC_TRANSFORM}),
)
def test_the_last_severity_moves_images_further_than_the_first(name) -> None:
    images = some_images(32, 32, count=24)
    first, last = (
        float((corruption_class(name)(severity=severity)(images).float() - images).square().mean())
        for severity in (1, 5)
    )
    assert last > first > 0


@every_corruption
def test_images_stay_recognisable(name) -> None:
    """Twenty-four of them, each nearer to its own original than to any other, up to contrast."""
    images = some_images(32, 32, count=24)
    corrupted = corruption_class(name)(severity=5)(images)

    def shape_of(pixels: torch.Tensor) -> torch.Tensor:
        values = pixels.float().flatten(1)
        return functional.normalize(values - values.mean(dim=1, keepdim=True))

    likeness = shape_of(corrupted) @ shape_of(images).T
    assert torch.equal(likeness.argmax(dim=1), torch.arange(24))


@every_corruption
def test_no_images_give_no_images(name) -> None:
    assert corruption_class(name)(severity=1)(some_images(4, 5)[:0]).shape == (0, 3, 4, 5)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(1, 3, 4, 4),
        torch.zeros(3, 4, 4, dtype=torch.uint8),
        torch.zeros(1, 1, 4, 4, dtype=torch.uint8),
        torch.zeros(1, 3, 0, 4, dtype=torch.uint8),
    ],
    ids=["floats", "no batch", "grey", "empty"],
)
def test_what_is_no_batch_of_images_is_refused(images) -> None:
    with pytest.raises(InvalidInputError, match=r"should be uint8 of shape .* Found") as caught:
        parse_corruption("fog:1")(images)
    assert caught.value.field == "images"


@pytest.mark.parametrize("field", ["seed", "first"])
def test_a_negative_seed_or_place_is_refused(field) -> None:
    with pytest.raises(InvalidInputError, match=f"{field} should be at least 0. Found -1"):
        parse_corruption("contrast:1")(some_images(4, 4), **{field: -1})


@pytest.mark.parametrize("severity", [0, 6, -1])
def test_a_severity_out_of_range_is_refused(severity) -> None:
    with pytest.raises(InvalidInputError, match=r"severity of fog should be .* Write it as fog:3"):
        corruption_class(CorruptionName.FOG)(severity=severity)


@pytest.mark.parametrize(
    "text", ["", "rain:3", "fog", "fog:", "fog:0", "fog:6", "fog:2.5", "fog:3:1"]
)
def test_a_name_that_stands_for_no_corruption_is_refused(text) -> None:
    with pytest.raises(InvalidInputError, match=r"should be .*Found .*") as caught:
        parse_corruption(text)
    assert caught.value.field == "corruption"
