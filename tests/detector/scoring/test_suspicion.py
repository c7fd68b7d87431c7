"""All scores of the path side by side, with those of copies, and the score they come to."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from detector.paths import PathLayout
from detector.scoring import (
    LearntFusion,
    Observation,
    OneClassFusion,
    PathScores,
    Statistics,
    Suspicion,
    TreeArrays,
    TreeEnsemble,
    one_class_witnesses,
)

LAYOUT = PathLayout(names=("one", "two", "three"), sizes=(6, 4, 6))
COPIES = ("flip", "shift:left")


@pytest.fixture
def path_scores(make_clean) -> PathScores:
    return PathScores(LAYOUT, 3).fit(make_clean(300, LAYOUT)).eval()


@pytest.fixture
def seen(make_seen) -> Observation:
    return make_seen(torch.arange(9) % 3, LAYOUT, copies=COPIES, seed=6)


@pytest.fixture
def suspicion(path_scores, make_seen) -> Suspicion:
    statistics = Statistics(path_scores, COPIES)
    clean = make_seen(torch.arange(200) % 3, LAYOUT, copies=COPIES, seed=5)
    fusion = OneClassFusion(statistics.names, one_class_witnesses(COPIES))
    return Suspicion(statistics, fusion.fit(statistics(clean)))


def test_every_statistic_of_the_path_has_a_name_of_its_own(path_scores, seen) -> None:
    found = path_scores(seen)
    assert found.shape == (9, len(path_scores.names))
    assert len(set(path_scores.names)) == len(path_scores.names)
    assert path_scores.names[0] == "bits/own:one"
    start = 0
    for name, score in path_scores.scores.items():
        stop = start + len(score.names)
        assert path_scores.names[start:stop] == tuple(f"{name}/{each}" for each in score.names)
        assert torch.equal(found[:, start:stop], score(seen))
        start = stop


def test_copies_add_their_statistics_behind_those_of_the_path(path_scores, seen) -> None:
    alone, both = Statistics(path_scores), Statistics(path_scores, COPIES)
    assert alone.names == path_scores.names
    assert both.names[: len(alone.names)] == alone.names
    assert both.names[len(alone.names)] == "stability/margin-fall:flip"
    assert torch.equal(both(seen)[:, : len(alone.names)], alone(seen))
    assert both(seen).shape == (9, len(both.names))
    with pytest.raises(ValueError, match="Found no flip, shift:left"):
        both(dataclasses.replace(seen, copies={}))


@pytest.mark.parametrize("copies", [(), ("flip",), COPIES])
def test_the_one_class_witnesses_are_statistics_that_are_measured(path_scores, copies) -> None:
    names = Statistics(path_scores, copies).names
    witnesses = one_class_witnesses(copies)
    assert len(witnesses) == 3
    heard = [name for witness in witnesses for name in witness.statistics]
    assert set(heard) <= set(names)
    for copy in copies:
        assert sum(copy in name for name in heard) == 2
    # The margin of the image itself weighs as much as what all copies say about the boundary.
    assert heard.count("confidence/low-logit-margin") == max(1, len(copies))


def test_layer_weights_are_shares_and_name_the_strange_layer(path_scores, seen) -> None:
    logits = seen.path.logits.clone()
    logits[:, LAYOUT.slices[1]] += 20
    strange = dataclasses.replace(seen, path=dataclasses.replace(seen.path, logits=logits))
    weights = path_scores.layer_weights(path_scores(strange))
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(9))
    assert bool((weights >= 0).all())
    assert weights.argmax(dim=1).tolist() == [1] * 9


def test_layer_weights_are_what_lies_further_out_than_usual(path_scores, seen) -> None:
    values = path_scores(seen)
    place = {name: index for index, name in enumerate(path_scores.names)}
    far = torch.zeros(9, 3)
    for score in ("bits", "gate-logits", "activations"):
        for aspect in ("own", "margin"):
            columns = [place[f"{score}/{aspect}:{layer}"] for layer in LAYOUT.names]
            far += values[:, columns].clamp(min=0)
    expected = (far + 1e-6) / (far + 1e-6).sum(dim=1, keepdim=True)
    torch.testing.assert_close(path_scores.layer_weights(values), expected)


def test_a_path_that_is_usual_everywhere_has_weights_all_the_same(path_scores) -> None:
    values = torch.full((2, len(path_scores.names)), -1.0)
    expected = torch.full((2, 3), 1 / 3)
    torch.testing.assert_close(path_scores.layer_weights(values), expected)


def test_scores_by_layer_are_computed_where_a_fusion_reads_none_of_them(path_scores) -> None:
    by_layer = {"bits", "gate-logits", "activations"}
    assert path_scores.keys_of(["confidence/high-energy"]) == by_layer | {"confidence"}
    assert path_scores.keys_of(["bits/own:all", "stability/margin-fall:flip"]) == {"bits"}


def test_the_score_is_the_fusion_of_the_statistics(suspicion, seen) -> None:
    found = suspicion(seen)
    values = suspicion.statistics(seen)
    path_scores = suspicion.statistics.path_scores
    assert torch.equal(found.scores, suspicion.fusion(values))
    # Only what the fusion reads is computed, and so tells the layers' weights.
    expected = path_scores.layer_weights(path_scores(seen, {"activations"}))
    assert torch.equal(found.layer_weights, expected)
    assert (suspicion.layout, suspicion.classes, suspicion.copies) == (LAYOUT, 3, COPIES)


@pytest.mark.parametrize("copies", [(), ("flip",), COPIES])
def test_strange_images_are_more_suspicious_at_every_level(path_scores, make_seen, copies) -> None:
    statistics = Statistics(path_scores, copies)
    fusion = OneClassFusion(statistics.names, one_class_witnesses(copies))
    labels = torch.arange(200) % 3
    fusion.fit(statistics(make_seen(labels, LAYOUT, copies=copies, seed=5)))
    suspicion = Suspicion(statistics, fusion)
    usual, strange = (
        suspicion(make_seen(labels, LAYOUT, copies=copies, seed=7, strangeness=far)).scores
        for far in (0.0, 3.0)
    )
    assert float((strange > usual.median()).float().mean()) > 0.8


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("part", ["logits", "activations", "class_logits"])
@pytest.mark.parametrize("where", ["image", "flip"])
def test_a_network_that_broke_down_shows_in_the_score(suspicion, seen, bad, part, where) -> None:
    broken = seen if where == "image" else seen.copies[where]
    target = broken.class_logits if part == "class_logits" else getattr(broken.path, part)
    target[1, 2] = bad
    assert suspicion(seen).scores.isnan().tolist() == [False, True] + [False] * 7


def test_what_a_copy_does_is_nothing_to_a_level_that_does_not_look(path_scores, seen) -> None:
    seen.copies["flip"].class_logits.fill_(torch.nan)
    assert bool(path_scores(seen).isfinite().all())


def test_an_attacker_finds_a_way_from_the_score_to_everything_it_reads(suspicion, seen) -> None:
    leaves = [seen.path.activations, seen.class_logits]
    leaves += [copy.class_logits for copy in seen.copies.values()]
    for leaf in leaves:
        leaf.requires_grad_()
    suspicion(seen).scores.sum().backward()
    for leaf in leaves:
        assert bool(leaf.grad.isfinite().all())
        assert bool(leaf.grad.any())


def test_path_scores_come_back_from_their_state_also_of_other_images(
    path_scores, make_clean, seen
) -> None:
    state = {name: tensor.clone() for name, tensor in path_scores.state_dict().items()}
    restored = PathScores.from_state(LAYOUT, 3, state)
    assert torch.equal(restored(seen), path_scores(seen))
    assert not restored.training
    few = PathScores(LAYOUT, 3).fit(make_clean(12, LAYOUT))
    assert torch.equal(PathScores.from_state(LAYOUT, 3, few.state_dict())(seen), few(seen))


def test_a_state_of_something_else_is_refused(path_scores) -> None:
    state = path_scores.state_dict()
    for wrong in (
        {**state, "scores.strange.weight": torch.zeros(1)},
        {name: tensor for name, tensor in state.items() if "neighbours" not in name},
    ):
        with pytest.raises((KeyError, RuntimeError)):
            PathScores.from_state(LAYOUT, 3, wrong)
    with pytest.raises(RuntimeError, match="size mismatch"):
        PathScores.from_state(LAYOUT, 4, state)


def test_a_fusion_of_other_statistics_is_refused(path_scores) -> None:
    leaf = TreeArrays(
        feature=torch.tensor([0]),
        threshold=torch.tensor([0.0], dtype=torch.float64),
        left=torch.tensor([-1]),
        right=torch.tensor([-1]),
        value=torch.tensor([0.0], dtype=torch.float64),
    )
    fusion = LearntFusion(7, TreeEnsemble.of([leaf]))
    statistics = Statistics(path_scores)
    expected = rf"should read {len(statistics.names)} statistics\. Found 7"
    with pytest.raises(ValueError, match=expected):
        Suspicion(statistics, fusion)


def test_path_scores_are_as_wide_as_they_have_names(path_scores):
    assert path_scores.width == len(path_scores.names)
