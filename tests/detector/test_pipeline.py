"""From images to verdicts."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from detector.errors import BudgetError, InvalidInputError
from detector.paths import PathLayout
from detector.pipeline import Pipeline, Verdict
from detector.scoring import PathFeatures, Suspicion, TreeEnsemble


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


def test_findings_do_not_depend_on_the_rest_of_the_batch(findings, pipeline, images):
    for row in range(len(images)):
        alone = pipeline.analyse(images[row : row + 1])
        torch.testing.assert_close(alone.class_logits[0], findings.class_logits[row])
        assert torch.equal(alone.path.bits[0], findings.path.bits[row])
        assert float(alone.p_values[0]) == float(findings.p_values[row])


def test_a_path_extracted_before_is_judged_as_the_image_is(findings, pipeline):
    again = pipeline.judge(findings.path, findings.class_logits)
    assert torch.equal(again.scores, findings.scores)
    assert torch.equal(again.p_values, findings.p_values)
    assert torch.equal(again.layer_weights, findings.layer_weights)


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


def test_a_strange_path_is_off_path_up_to_the_threshold(findings, pipeline):
    threshold = pipeline.conformal.threshold(0, 0.05)
    strange = with_row(findings, score=9, p_value=threshold)
    detection = pipeline.detect(strange, 0)
    assert detection.verdict is Verdict.OFF_PATH
    assert detection.layers[0].name in detection.reason
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
    assert "149 calibration images predicted as dog; this bundle has 60" in detection.reason


def test_a_score_that_is_not_finite_abstains(findings, pipeline):
    broken = with_row(findings, score=math.nan, p_value=math.nan)
    detection = pipeline.detect(broken, 0)
    assert detection.verdict is Verdict.ABSTAIN
    assert "not finite" in detection.reason
    assert detection.layers == ()


def test_a_network_that_breaks_down_abstains_on_every_image(make_pipeline, images):
    pipeline = make_pipeline()
    with torch.no_grad():
        pipeline.network.backbone.fc.weight.fill_(torch.nan)
    findings = pipeline.analyse(images)
    verdicts = {pipeline.detect(findings, row).verdict for row in range(len(images))}
    assert verdicts == {Verdict.ABSTAIN}


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


def test_parts_of_different_networks_are_refused(pipeline):
    other = PathFeatures(PathLayout(names=("one",), sizes=(4,)), 3)
    trees = TreeEnsemble(
        feature=torch.tensor([0]),
        threshold=torch.tensor([torch.inf]),
        left=torch.tensor([0]),
        value=torch.zeros(1, dtype=torch.float64),
        roots=torch.tensor([0]),
        offset=torch.tensor(0.0, dtype=torch.float64),
    )
    with pytest.raises(ValueError, match="one layout"):
        Pipeline(
            network=pipeline.network,
            suspicion=Suspicion(other, trees),
            conformal=pipeline.conformal,
            preprocessing=pipeline.preprocessing,
            class_names=pipeline.class_names,
            alpha=0.05,
        )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_what_the_cpu_finds(pipeline, images):
    expected = pipeline.analyse(images)
    on_gpu = Pipeline(
        network=pipeline.network,
        suspicion=pipeline.suspicion,
        conformal=pipeline.conformal,
        preprocessing=pipeline.preprocessing,
        class_names=pipeline.class_names,
        alpha=pipeline.alpha,
        device="cuda",
    )
    found = on_gpu.analyse(images)
    assert found.scores.device.type == found.path.bits.device.type == "cpu"
    torch.testing.assert_close(found.class_logits, expected.class_logits, rtol=1e-3, atol=1e-3)
    assert torch.equal(found.predicted, expected.predicted)
