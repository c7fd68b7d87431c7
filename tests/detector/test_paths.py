import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.paths import PathLayout, PathVectors

LAYOUT = PathLayout(names=("a", "b"), sizes=(2, 3))

sizes = st.lists(st.integers(1, 40), min_size=1, max_size=12)


def layout_of(found):
    return PathLayout(names=tuple(f"layer{i}" for i in range(len(found))), sizes=tuple(found))


def paths(images=4, layout=LAYOUT):
    logits = torch.randn(
        images, layout.gates, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()
    return PathVectors(
        layout=layout, bits=logits > 0, logits=logits, activations=logits.clamp(min=0)
    )


@given(sizes)
def test_slices_cover_every_gate_once_in_order(found):
    layout = layout_of(found)
    covered = [gate for part in layout.slices for gate in range(part.start, part.stop)]
    assert covered == list(range(layout.gates))
    assert [part.stop - part.start for part in layout.slices] == found
    assert layout.layers == len(found)


@given(sizes)
def test_layer_of_gate_agrees_with_the_slices(found):
    layout = layout_of(found)
    owners = layout.layer_of_gate()
    assert owners.dtype == torch.int64
    assert len(owners) == layout.gates
    for index, part in enumerate(layout.slices):
        assert (owners[part] == index).all()


@given(sizes)
def test_each_gate_is_found_again_by_its_layer_and_filter(found):
    layout = layout_of(found)
    places = [layout.place(gate) for gate in range(layout.gates)]
    assert places == [
        (f"layer{layer}", number) for layer, size in enumerate(found) for number in range(size)
    ]
    assert [layout.gate(*place) for place in places] == list(range(layout.gates))


@pytest.mark.parametrize("gate", [-1, 5])
def test_a_gate_that_the_network_has_not_is_refused(gate):
    with pytest.raises(ValueError, match=f"should be one of 0 to 4. Found {gate}"):
        LAYOUT.place(gate)


@pytest.mark.parametrize(
    ("layer", "number", "message"),
    [
        ("c", 0, "one of a, b. Found c"),
        ("a", 2, "filter of a should be one of 0 to 1. Found 2"),
        ("b", -1, "filter of b should be one of 0 to 2. Found -1"),
    ],
)
def test_a_place_that_the_network_has_not_is_refused(layer, number, message):
    with pytest.raises(ValueError, match=message):
        LAYOUT.gate(layer, number)


@settings(deadline=None)  # the first example loads parts of torch
@given(sizes, st.integers(0, 5))
def test_the_layers_of_a_batch_joined_again_are_the_batch(found, images):
    batch = paths(images, layout_of(found))
    layers = list(batch.by_layer())
    assert [name for name, _ in layers] == list(batch.layout.names)
    for field in ("bits", "logits", "activations"):
        joined = torch.cat([getattr(part, field) for _, part in layers], dim=1)
        assert torch.equal(joined, getattr(batch, field))


@pytest.mark.parametrize(
    ("names", "found", "message"),
    [
        (("a",), (1, 2), "one size for each"),
        (("a", "a"), (1, 2), "1 distinct"),
        ((), (), "should be positive"),
        (("a", "b"), (1, 0), "should be positive"),
        (("a",), (-1,), "should be positive"),
    ],
)
def test_a_layout_that_contradicts_itself_is_refused(names, found, message):
    with pytest.raises(ValueError, match=message):
        PathLayout(names=names, sizes=found)


@pytest.mark.parametrize("field", ["logits", "activations"])
def test_vectors_that_do_not_fit_the_layout_are_refused(field):
    batch = paths()
    parts = {name: getattr(batch, name) for name in ("bits", "logits", "activations")}
    with pytest.raises(ValueError, match=rf"{field} should have shape \(4, 5\)"):
        PathVectors(layout=LAYOUT, **parts | {field: parts[field][:, :4]})


def test_vectors_of_another_layout_are_refused():
    batch = paths()
    with pytest.raises(ValueError, match=r"bits should have shape \(4, 2\)"):
        PathVectors(
            layout=PathLayout(names=("a",), sizes=(2,)),
            bits=batch.bits,
            logits=batch.logits,
            activations=batch.activations,
        )


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (slice(1, 3), [1, 2]),
        (torch.tensor([3, 0, 0]), [3, 0, 0]),
        (torch.tensor([True, False, False, True]), [0, 3]),
        (slice(0, 0), []),
    ],
)
def test_images_are_chosen_by_slice_mask_or_indices(rows, expected):
    batch = paths()
    chosen = batch[rows]
    assert len(chosen) == len(expected)
    assert torch.equal(chosen.logits, batch.logits[expected])
    assert torch.equal(chosen.bits, batch.bits[expected])
    assert torch.equal(chosen.activations, batch.activations[expected])


def test_parts_are_joined_in_their_order():
    batch = paths()
    joined = PathVectors.concatenate([batch[2:], batch[:2]])
    assert torch.equal(joined.logits, batch.logits[[2, 3, 0, 1]])


def test_joining_no_parts_is_refused():
    with pytest.raises(ValueError, match="at least one part"):
        PathVectors.concatenate([])


def test_paths_in_main_memory_carry_no_gradient():
    batch = paths()
    assert batch.logits.requires_grad
    assert not batch.cpu().logits.requires_grad
    assert not batch.cpu().activations.requires_grad
    assert torch.equal(batch.cpu().logits, batch.logits)
