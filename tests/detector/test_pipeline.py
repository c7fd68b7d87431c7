"""From images to verdicts."""

from __future__ import annotations

import dataclasses
import math
import time

import pytest
import torch

from detector.conformal import ConformalTable, Guarantee, Promise
from detector.copies import parse_copy
from detector.errors import BudgetError, InvalidInputError
from detector.paths import PathLayout
from detector.pipeline import Abstention, Level, LevelName, Pipeline, Verdict
from detector.scoring import (
    LearntFusion,
    PathScores,
    Statistics,
    Suspicion,
    TreeArrays,
    TreeEnsemble,
)

LEVELS = {"fast": (), "standard": ("flip",), "thorough": ("flip", "shift:left", "scale:0.75")}


@pytest.fixture
def pipeline(make_pipeline):
    return make_pipeline()


@pytest.fixture
def findings(pipeline, images):
    return pipeline.analyse(images)


def with_row(findings, *, score: float, p_value: float, predicted: int = 0):
    """The findings with another first row."""
    changed = {
        name: getattr(findings, name).clone() for name in ("scores", "p_values", "predicted")
    }
    for name, value in zip(changed, (score, p_value, predicted), strict=True):
        changed[name][0] = value
    return dataclasses.replace(findings, **changed)


def test_every_image_gets_its_findings(findings, pipeline):
    assert len(findings) == len(findings.path) == 6
    assert findings.class_logits.shape == (6, 3)
    assert findings.layer_weights.shape == (6, pipeline.layout.layers)
    assert findings.scores.dtype == torch.float32
    assert findings.p_values.dtype == torch.float64
    assert bool(((findings.p_values > 0) & (findings.p_values <= 1)).all())
    assert torch.equal(findings.predicted, findings.class_logits.argmax(dim=1))
    torch.testing.assert_close(
        findings.probability, findings.class_logits.softmax(dim=1).amax(dim=1)
    )


@pytest.mark.parametrize("level", LEVELS)
def test_findings_do_not_depend_on_the_rest_of_the_batch(pipeline, images, level):
    findings = pipeline.analyse(images, level)
    for row in range(len(images)):
        alone = pipeline.analyse(images[row : row + 1], level)
        torch.testing.assert_close(alone.class_logits[0], findings.class_logits[row])
        assert torch.equal(alone.path.bits[0], findings.path.bits[row])
        torch.testing.assert_close(alone.scores[0], findings.scores[row], rtol=1e-4, atol=1e-3)
        assert float(alone.p_values[0]) == pytest.approx(float(findings.p_values[row]), abs=0.011)


@pytest.mark.parametrize("level", LEVELS)
def test_what_was_observed_before_is_judged_as_the_image_is(pipeline, images, level):
    findings = pipeline.analyse(images, level)
    again = pipeline.judge(pipeline.observe(images, LEVELS[level]), level)
    assert again.level == findings.level == level
    assert torch.equal(again.scores, findings.scores)
    assert torch.equal(again.p_values, findings.p_values)
    assert torch.equal(again.layer_weights, findings.layer_weights)


def test_findings_say_how_long_the_network_and_the_scores_took(pipeline, images, monkeypatch):
    def slow_judge(*arguments):
        time.sleep(0.05)
        return judge(*arguments)

    judge = pipeline.judge
    monkeypatch.setattr(pipeline, "judge", slow_judge)
    began = time.perf_counter()
    spent = pipeline.analyse(images).spent
    whole = time.perf_counter() - began
    assert spent.scoring_s >= 0.05
    assert 0 < spent.network_s <= whole - spent.scoring_s


def test_copies_are_observed_in_one_pass_with_their_images(pipeline, images):
    passes = []
    handle = pipeline.network.register_forward_hook(lambda *call: passes.append(len(call[2].path)))
    seen = pipeline.observe(images, LEVELS["thorough"])
    handle.remove()
    assert passes == [4 * len(images)]
    assert tuple(seen.copies) == LEVELS["thorough"]
    pairs = [(seen, images)]
    pairs += [(copy, parse_copy(name)(images)) for name, copy in seen.copies.items()]
    for part, copied in pairs:
        alone = pipeline.observe(copied)
        torch.testing.assert_close(part.class_logits, alone.class_logits)
        assert torch.equal(part.path.bits, alone.path.bits)


def test_each_level_has_scores_and_a_calibration_of_its_own(pipeline, images):
    found = {level: pipeline.analyse(images, level) for level in LEVELS}
    assert not torch.equal(found["fast"].scores, found["standard"].scores)
    assert not torch.equal(found["standard"].scores, found["thorough"].scores)
    for level, findings in found.items():
        chosen = pipeline.level(level)
        assert (chosen.copies, chosen.passes) == (LEVELS[level], 1 + len(LEVELS[level]))
        expected = chosen.conformal.p_values(findings.scores, findings.predicted)
        assert torch.equal(findings.p_values, expected)
        # The path is that of the image alone, however many copies were looked at.
        assert torch.equal(findings.path.bits, found["fast"].path.bits)
    # Both sums of witnesses hear the activations alone of all that looks at the path by layer.
    fast, standard = (found[level].layer_weights for level in ("fast", "standard"))
    torch.testing.assert_close(standard, fast, rtol=1e-3, atol=1e-4)
    furthest = {float(pipeline.level(level).conformal.scores.max()) for level in LEVELS}
    assert len(furthest) == len(LEVELS)


def test_the_verdict_is_by_the_calibration_of_its_level(pipeline, images):
    for level in LEVELS:
        findings = pipeline.analyse(images, level)
        flags = pipeline.level(level).conformal.flags(findings.scores, findings.predicted, 0.05)
        for row in range(len(images)):
            detection = pipeline.detect(findings, row)
            assert detection.level == level
            assert (detection.verdict is Verdict.OFF_PATH) == bool(flags[row])


def test_the_first_level_is_meant_where_none_is_named(make_pipeline, images):
    for first in LevelName:
        others = tuple(name for name in LevelName if name is not first)
        pipeline = make_pipeline(levels=(first, *others))
        assert pipeline.default_level is pipeline.level().name is first
        assert pipeline.analyse(images).level is first
        assert torch.equal(pipeline.conformal.scores, pipeline.level(first).conformal.scores)


@pytest.mark.parametrize("level", ["", "FAST", "slow"])
def test_an_unknown_level_is_refused(pipeline, images, findings, level):
    seen = pipeline.observe(images)
    for ask in (
        pipeline.level,
        lambda level: pipeline.analyse(images, level),
        lambda level: pipeline.judge(seen, level),
    ):
        with pytest.raises(InvalidInputError, match="one of fast, standard, thorough") as caught:
            ask(level)
        assert caught.value.field == "level"


def test_a_level_that_the_bundle_is_not_calibrated_for_is_refused(make_pipeline, images):
    pipeline = make_pipeline(levels=(LevelName.FAST, LevelName.STANDARD))
    with pytest.raises(InvalidInputError, match=r"one of fast, standard, which.*'thorough'"):
        pipeline.analyse(images, "thorough")


def test_copies_that_were_not_observed_are_missed(pipeline, images):
    with pytest.raises(ValueError, match="Found no flip"):
        pipeline.judge(pipeline.observe(images), "standard")


def test_of_two_logits_that_round_to_one_probability_the_larger_is_predicted(pipeline, images):
    seen = pipeline.observe(images[:1])
    logits = torch.tensor([[0.0, 1e-8, -1.0]])
    assert float(logits.softmax(dim=1)[0].diff()[0]) == 0
    found = pipeline.judge(dataclasses.replace(seen, class_logits=logits))
    assert found.predicted.tolist() == [1]


def test_a_detection_says_what_was_found(findings, pipeline):
    detection = pipeline.detect(findings, 2)
    predicted = int(findings.predicted[2])
    assert detection.predicted_class == predicted
    assert detection.label == ("cat", "dog", "frog")[predicted]
    assert detection.probability == float(findings.probability[2])
    assert detection.score == float(findings.scores[2])
    assert detection.p_value == float(findings.p_values[2])
    assert detection.alpha == 0.05
    assert detection.reason.endswith(".")


def test_the_layers_of_a_detection_are_the_heaviest_first(findings, pipeline):
    layers = pipeline.detect(findings, 0).layers
    weights = [layer.weight for layer in layers]
    assert len(layers) == 5
    assert weights == sorted(weights, reverse=True)
    assert weights[0] == pytest.approx(float(findings.layer_weights[0].max()))
    assert {layer.name for layer in layers} <= set(pipeline.layout.names)


def test_a_usual_path_is_on_path(findings, pipeline):
    detection = pipeline.detect(with_row(findings, score=-9, p_value=0.9), 0)
    assert detection.verdict is Verdict.ON_PATH
    assert "cat" in detection.reason


def test_the_reason_names_what_weighed_most_in_the_score(findings, pipeline):
    witnesses = pipeline.level(findings.level).suspicion.fusion.witnesses
    threshold = pipeline.conformal.threshold(0, 0.05)
    strange = with_row(findings, score=9, p_value=threshold)
    for number, witness in enumerate(witnesses):
        testimony = torch.zeros_like(findings.testimony)
        testimony[0, number] = 3.0
        detection = pipeline.detect(dataclasses.replace(strange, testimony=testimony), 0)
        assert detection.reason.endswith(f"Above all, {witness.meaning}.")
    learnt = pipeline.analyse(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "thorough")
    flagged = pipeline.detect(with_row(learnt, score=9, p_value=threshold / 1000), 0)
    assert "resembles attacks" in flagged.reason


def test_a_strange_path_is_off_path_up_to_the_threshold(findings, pipeline):
    threshold = pipeline.conformal.threshold(0, 0.05)
    strange = with_row(findings, score=9, p_value=threshold)
    detection = pipeline.detect(strange, 0)
    assert detection.verdict is Verdict.OFF_PATH
    just_above = with_row(findings, score=9, p_value=threshold + 1 / 101)
    assert pipeline.detect(just_above, 0).verdict is Verdict.ON_PATH


def test_verdicts_agree_with_the_tables_flags(make_pipeline):
    generator = torch.Generator().manual_seed(2)
    images = torch.randint(0, 256, (40, 3, 8, 8), generator=generator, dtype=torch.uint8)
    pipeline = make_pipeline((300, 300, 300), alpha=0.5)
    findings = pipeline.analyse(images)
    for alpha in (0.5, 0.3, 0.1):
        flags = pipeline.conformal.flags(findings.scores, findings.predicted, alpha)
        verdicts = [pipeline.detect(findings, row, alpha).verdict for row in range(40)]
        assert [verdict is Verdict.OFF_PATH for verdict in verdicts] == flags.tolist()


def test_a_class_that_cannot_promise_the_budget_abstains(make_pipeline, images):
    pipeline = make_pipeline((300, 60, 60))
    findings = with_row(pipeline.analyse(images), score=9, p_value=1 / 61, predicted=1)
    assert pipeline.detect(findings, 0).verdict is Verdict.OFF_PATH
    detection = pipeline.detect(findings, 0, 0.02)
    assert detection.verdict is Verdict.ABSTAIN
    assert detection.abstention is Abstention.CALIBRATION_TOO_SMALL
    assert "149 calibration images predicted as dog; this bundle has 60" in detection.reason


def test_a_score_that_is_not_finite_abstains(findings, pipeline):
    broken = with_row(findings, score=math.nan, p_value=math.nan)
    detection = pipeline.detect(broken, 0)
    assert detection.verdict is Verdict.ABSTAIN
    assert detection.abstention is Abstention.OUTPUT_NOT_FINITE
    assert "not finite" in detection.reason
    assert detection.layers == ()


def test_a_network_that_breaks_down_abstains_on_every_image(make_pipeline, images):
    pipeline = make_pipeline()
    with torch.no_grad():
        pipeline.network.backbone.fc.weight.fill_(torch.nan)
    findings = pipeline.analyse(images)
    verdicts = {pipeline.detect(findings, row).verdict for row in range(len(images))}
    assert verdicts == {Verdict.ABSTAIN}


@pytest.mark.parametrize(
    ("verdict", "abstention"),
    [(Verdict.ABSTAIN, None), (Verdict.ON_PATH, Abstention.ROUNDING_DECIDES)],
)
def test_an_abstention_has_a_cause_and_no_other_verdict_has_one(
    findings, pipeline, verdict, abstention
):
    found = pipeline.detect(findings, 0)
    with pytest.raises(ValueError, match=verdict.name):
        dataclasses.replace(found, verdict=verdict, abstention=abstention)


def test_the_budget_of_a_call_may_be_lower_but_not_higher(pipeline):
    assert pipeline.check_alpha(None) == 0.05
    assert pipeline.check_alpha(0.04) == 0.04
    assert pipeline.check_alpha(pipeline.smallest_alpha) == pipeline.smallest_alpha


@pytest.mark.parametrize(
    ("alpha", "message"),
    [
        (0.0, "between 0 and 1"),
        (1.0, "between 0 and 1"),
        (-0.5, "between 0 and 1"),
        (math.nan, "between 0 and 1"),
        (math.inf, "between 0 and 1"),
        (0.06, "at most 0.05"),
        (0.001, "at least 0.0296"),  # rounded up: what is named has to do
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused(findings, pipeline, alpha, message):
    for ask in (pipeline.check_alpha, lambda alpha: pipeline.detect(findings, 0, alpha)):
        with pytest.raises(BudgetError, match=message) as caught:
            ask(alpha)
        assert caught.value.field == "alpha"


def test_the_smallest_budget_is_that_of_the_best_calibrated_class(make_pipeline):
    pipeline = make_pipeline((70, 300, 60))
    assert pipeline.calibration_counts == (70, 300, 60)
    assert pipeline.smallest_alpha == pipeline.conformal.smallest_alpha(1)


@pytest.mark.parametrize(
    "bad",
    [
        torch.zeros(2, 3, 8, 8),
        torch.zeros(3, 8, 8, dtype=torch.uint8),
        torch.zeros(2, 3, 8, 9, dtype=torch.uint8),
        torch.zeros(2, 1, 8, 8, dtype=torch.uint8),
        torch.zeros(0, 3, 8, 8, dtype=torch.uint8),
    ],
)
def test_images_of_another_type_or_shape_are_refused(pipeline, bad):
    with pytest.raises(InvalidInputError) as caught:
        pipeline.analyse(bad)
    assert caught.value.field == "images"


def leaf_on(scores: PathScores) -> Suspicion:
    """The same score for all."""
    leaf = TreeArrays(
        feature=torch.tensor([0]),
        threshold=torch.tensor([0.0], dtype=torch.float64),
        left=torch.tensor([-1]),
        right=torch.tensor([-1]),
        value=torch.tensor([0.0], dtype=torch.float64),
    )
    statistics = Statistics(scores)
    return Suspicion(statistics, LearntFusion(len(statistics.names), TreeEnsemble.of([leaf])))


def again(pipeline: Pipeline, *levels: Level, device: str = "cpu") -> Pipeline:
    """A pipeline of the same parts with other levels."""
    return Pipeline(
        network=pipeline.network,
        levels=levels,
        preprocessing=pipeline.preprocessing,
        class_names=pipeline.class_names,
        alpha=pipeline.alpha,
        device=device,
    )


@pytest.mark.parametrize(
    ("layout", "classes"), [(PathLayout(names=("one",), sizes=(4,)), 3), (None, 4)]
)
def test_a_level_of_another_network_is_refused(pipeline, layout, classes):
    scores = PathScores(layout or pipeline.layout, classes)
    conformal = ConformalTable(
        torch.zeros(classes), torch.arange(classes), classes, promise=Promise()
    )
    level = Level(name=LevelName.FAST, suspicion=leaf_on(scores), conformal=conformal)
    with pytest.raises(ValueError, match="one layout and one number of classes"):
        again(pipeline, level)


def test_a_level_of_two_numbers_of_classes_is_refused(pipeline):
    conformal = ConformalTable(torch.zeros(4), torch.arange(4), 4, promise=Promise())
    with pytest.raises(ValueError, match="Found 3 in its scores and 4 in its calibration"):
        dataclasses.replace(pipeline.level("fast"), conformal=conformal)


@pytest.mark.parametrize("names", [(), ("fast", "fast")])
def test_levels_have_to_be_there_and_each_once(pipeline, names):
    with pytest.raises(ValueError, match="at least one level, each once"):
        again(pipeline, *(pipeline.level(name) for name in names))


@pytest.mark.parametrize("other", ["scores", "images", "promise"])
def test_levels_have_to_share_path_scores_images_and_promise(pipeline, other):
    fast, standard = pipeline.level("fast"), pipeline.level("standard")
    scores, predicted = standard.conformal.scores, standard.conformal.predicted
    change = {
        "scores": {"suspicion": leaf_on(PathScores(pipeline.layout, 3))},
        "images": {"conformal": ConformalTable(scores, predicted.flip(0), 3, promise=Promise())},
        "promise": {
            "conformal": ConformalTable(
                scores, predicted, 3, promise=Promise(guarantee=Guarantee.PLAIN)
            )
        },
    }[other]
    with pytest.raises(ValueError, match="Found others for standard than for fast"):
        again(pipeline, fast, dataclasses.replace(standard, **change))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_what_the_cpu_finds(pipeline, images):
    rows = range(len(images))
    expected = {level: pipeline.explain(pipeline.analyse(images, level), rows) for level in LEVELS}
    on_gpu = again(pipeline, *pipeline.levels.values(), device="cuda")
    for level, cpu in expected.items():
        found = on_gpu.analyse(images, level)
        assert found.scores.device.type == found.path.bits.device.type == "cpu"
        torch.testing.assert_close(found.class_logits, cpu.class_logits, rtol=1e-3, atol=1e-3)
        assert torch.equal(found.predicted, cpu.predicted)
        explained = on_gpu.explain(found, rows).explanations
        for row, each in cpu.explanations.items():
            assert explained[row].distance == pytest.approx(each.distance, rel=1e-2, abs=1e-2)
            assert explained[row].rival.label == each.rival.label
