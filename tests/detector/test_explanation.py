"""What a pipeline says of the paths of images that ask."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest
import torch

from detector.pipeline import Verdict, explain

LEVELS = ("fast", "standard", "thorough")  # the last of them is learnt


@pytest.fixture
def pipeline(make_pipeline):
    return make_pipeline()


@pytest.fixture
def many():
    """More images than one block of rows."""
    draws = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (40, 3, 8, 8), generator=draws).to(torch.uint8)


@pytest.mark.parametrize("level", LEVELS)
def test_the_images_that_ask_are_explained_and_no_others(pipeline, images, level):
    findings = pipeline.explain(pipeline.analyse(images, level), [4, 1])
    assert set(findings.explanations) == {1, 4}
    for row in range(len(images)):
        detection = pipeline.detect(findings, row)
        assert detection.explanation is findings.explanations.get(row)


def test_who_does_not_ask_costs_nothing(pipeline, images, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("explained unasked")

    monkeypatch.setattr(explain, "path_evidence", fail)
    findings = pipeline.analyse(images)
    assert findings.explanations == {}
    assert pipeline.explain(findings, []) is findings
    assert pipeline.detect(findings, 0).explanation is None
    with pytest.raises(AssertionError, match="unasked"):
        pipeline.explain(findings, [0])


def test_an_image_whose_score_is_no_number_gets_none(pipeline, images):
    findings = pipeline.analyse(images)
    scores = findings.scores.clone()
    scores[2] = math.nan
    findings = dataclasses.replace(findings, scores=scores)
    assert set(pipeline.explain(findings, [1, 2, 3]).explanations) == {1, 3}
    assert pipeline.explain(findings, [2]) is findings
    assert pipeline.detect(findings, 2).verdict is Verdict.ABSTAIN
    assert pipeline.detect(findings, 2).explanation is None


def test_an_explanation_does_not_hang_on_who_else_asks(pipeline, many):
    findings = pipeline.analyse(many)
    together = pipeline.explain(findings, range(40)).explanations
    for row in (0, 7, 31, 32, 39):
        alone = pipeline.explain(findings, [row]).explanations
        assert alone == {row: together[row]}
    some = pipeline.explain(findings, [39, 3]).explanations
    assert some == {row: together[row] for row in (3, 39)}


def test_explanations_come_one_after_the_other(pipeline, images):
    first = pipeline.explain(pipeline.analyse(images), [1])
    both = pipeline.explain(first, [2])
    assert set(both.explanations) == {1, 2}
    assert both.explanations[1] is first.explanations[1]


def test_what_is_named_is_what_the_path_has_there(pipeline, images):
    findings = pipeline.explain(pipeline.analyse(images), range(6))
    for row, found in findings.explanations.items():
        path = dict(findings.path[row : row + 1].by_layer())
        assert 0 < len(found.gates) <= 5
        for gate in found.gates:
            assert gate.is_open is bool(path[gate.layer].bits[0, gate.filter])
            assert gate.activation == float(path[gate.layer].activations[0, gate.filter])
            assert 0 < gate.open_share < 1
        added = [gate.contribution for gate in found.gates]
        assert added == sorted(added, reverse=True)
        assert min(added) > 0
        assert {layer.name for layer in found.layers} <= set(pipeline.layout.names)
        assert found.rival.index != int(findings.predicted[row])
        assert found.rival.label == pipeline.class_names[found.rival.index]
        assert [each.label for each in found.neighbours] == [
            pipeline.class_names[each.index] for each in found.neighbours
        ]
        # As the clean images of the tests are numbered, and of which class.
        assert all((each.image - 1000) % 3 == each.index for each in found.neighbours)


def test_a_gate_is_described_by_its_state_where_that_is_rare_and_else_by_its_activation(
    pipeline, many
):
    findings = pipeline.explain(pipeline.analyse(many), range(40))
    seen = set()
    for row, found in findings.explanations.items():
        label = pipeline.class_names[int(findings.predicted[row])]
        for gate in found.gates:
            state = "open" if gate.is_open else "closed"
            begin = f"Filter {gate.filter} of {gate.layer} is {state}"
            alike = gate.open_share if gate.is_open else 1 - gate.open_share
            share = r"(\d+|less than 1|more than 99) %"
            rare = rf"; it is open in {share} of clean images predicted as {label}\."
            usual = (
                rf", as in {share} of clean images predicted as {label}; "
                rf"its mean activation is {gate.activation:.2f}, "
                rf"theirs is {gate.usual_activation:.2f}\."
            )
            expected = re.escape(begin) + (rare if alike < 0.5 else usual)
            match = re.fullmatch(expected, gate.sentence)
            assert match, gate.sentence
            if match[1].isdigit():
                told = gate.open_share if alike < 0.5 else alike
                assert int(match[1]) == pytest.approx(100 * told, abs=0.5 + 1e-9)
            seen.add(alike < 0.5)
    assert seen == {True, False}


def test_the_rivals_sentence_says_which_class_fits_better(pipeline, many):
    findings = pipeline.explain(pipeline.analyse(many), range(40))
    for row, found in findings.explanations.items():
        better = "better" if found.rival.margin > 0 else "less well"
        assert found.rival.sentence == (
            f"Of the other classes the path fits {found.rival.label} best, {better} than "
            f"{pipeline.class_names[int(findings.predicted[row])]}, which is predicted."
        )


def test_the_time_for_it_counts_as_scoring(pipeline, images):
    findings = pipeline.analyse(images)
    explained = pipeline.explain(findings, [0])
    assert explained.spent.scoring_s > findings.spent.scoring_s
    assert explained.spent.network_s == findings.spent.network_s


@pytest.mark.parametrize("level", LEVELS)
def test_the_parts_of_a_score_add_up_to_it_and_the_first_is_the_reason(pipeline, images, level):
    findings = pipeline.explain(pipeline.analyse(images, level), range(len(images)))
    for row in range(len(images)):
        parts = findings.explanations[row].parts
        if level == "thorough":  # what trees made is no sum
            assert parts == ()
            continue
        values = [part.surprisal for part in parts]
        assert values == sorted(values, reverse=True)
        assert sum(values) == pytest.approx(float(findings.scores[row]), rel=1e-5)
        detection = pipeline.detect(findings, row)
        if detection.verdict is Verdict.OFF_PATH:
            first = parts[0].sentence
            assert f"{first[0].lower()}{first[1:]}" in detection.reason
