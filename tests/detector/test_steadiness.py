"""Gates that rounding decides, and verdicts that hang on them."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from detector.bundle.golden import check_golden, make_golden
from detector.paths import PathLayout
from detector.pipeline import Abstention, DeviceNoise, LevelName, Verdict

LAYOUT = PathLayout(names=("first", "second"), sizes=(2, 3))
QUIET = dict.fromkeys(LevelName, 0.0)


@pytest.fixture
def pipeline(make_pipeline):
    return make_pipeline()


def noise_around(pipeline, images, gates, level="standard", scores=QUIET):
    """Noise in which exactly the given number of an image's least decided gates lie."""
    seen = pipeline.observe(images, pipeline.level(level).copies)
    passes = torch.stack([each.path.logits for each in (seen, *seen.copies.values())])
    ordered = passes[:, 0].abs().flatten().sort().values
    between = (ordered[gates - 1] + ordered[gates]) / 2 if gates else ordered[0] / 2
    return DeviceNoise(gates=torch.full((pipeline.layout.gates,), float(between)), scores=scores)


def test_noise_is_the_largest_difference_with_a_margin_and_never_below_some_roundings():
    expected = torch.tensor([[1.0, -2.0, 100.0, -1.0, 3.0]])
    found = expected + torch.tensor([[0.0, 1e-2, 0.0, 0.0, 0.0]])
    scores = torch.tensor([2.0])
    noise = DeviceNoise.between(LAYOUT, (expected, found), {LevelName.FAST: (scores, scores + 0.5)})
    epsilon = torch.finfo(torch.float32).eps
    assert noise.gates.tolist() == pytest.approx([4e-2] * 2 + [16 * epsilon * 100] * 3, rel=1e-3)
    assert noise.scores == {LevelName.FAST: pytest.approx(2.0)}


def test_what_follows_from_another_gate_is_no_rounding():
    expected = torch.tensor([[1.0, -2.0, 1.0, -1.0, 3.0], [1e-9, 1.0, 1.0, 1.0, 1.0]])
    found = torch.stack([expected[0], -expected[1]])
    noise = DeviceNoise.between(LAYOUT, (expected, found), {})
    assert float(noise.gates.max()) < 1e-5


def test_the_self_test_measures_no_more_than_roundings_on_the_machine_that_made_it(pipeline):
    noise = check_golden(pipeline, make_golden(pipeline))
    assert noise.gates.shape == (pipeline.layout.gates,)
    assert 0 < float(noise.gates.max()) < 1e-3
    assert set(noise.scores) == set(pipeline.levels)


def test_without_known_noise_nothing_is_said_of_it(pipeline, images):
    findings = pipeline.analyse(images)
    assert findings.steadiness is None
    assert pipeline.detect(findings, 0).unstable_gates == 0


@pytest.mark.parametrize("level", ["fast", "standard"])
@pytest.mark.parametrize("gates", [0, 1, 2, 3, 4])
def test_gates_within_the_noise_are_counted_over_an_image_and_its_copies(
    pipeline, images, level, gates
):
    pipeline.expect(noise_around(pipeline, images, gates, level))
    findings = pipeline.analyse(images[:1], level)
    assert int(findings.steadiness.unstable_gates[0]) == gates
    assert pipeline.detect(findings, 0).unstable_gates == gates
    p_value = float(findings.p_values[0])
    least, greatest = (
        float(ends[0])
        for ends in (findings.steadiness.least_p_values, findings.steadiness.greatest_p_values)
    )
    assert least <= p_value <= greatest
    if gates == 0:
        assert least == greatest
    if gates > 3:  # not tried: nothing bounds the p-value
        counts = pipeline.conformal.counts[findings.predicted[0]]
        assert least == pytest.approx(1 / (1 + int(counts)))
        assert greatest == 1


def test_the_range_is_that_of_the_network_run_with_the_gate_the_other_way(pipeline, images):
    pipeline.expect(noise_around(pipeline, images, 1, "fast"))
    findings = pipeline.analyse(images[:1], "fast")
    logits = findings.path.logits[0]
    gate = int(logits.abs().argmin())
    # Moves the gate's logit over zero by its bias and leaves all else as it is.
    layer = int(pipeline.layout.layer_of_gate()[gate])
    place = gate - pipeline.layout.slices[layer].start
    with torch.no_grad():
        pipeline.network.controllers[layer].excite.bias[place] -= 2 * logits[gate]
    other = pipeline.analyse(images[:1], "fast")
    assert int((other.path.bits != findings.path.bits)[0, gate]) == 1
    if int(other.predicted[0]) == int(findings.predicted[0]):
        expected = sorted([float(findings.p_values[0]), float(other.p_values[0])])
    else:
        expected = [1 / (1 + int(pipeline.conformal.counts[findings.predicted[0]])), 1.0]
    steady = findings.steadiness
    found = [float(steady.least_p_values[0]), float(steady.greatest_p_values[0])]
    assert found == pytest.approx(expected, abs=0.011)


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [
        ((0.01, 0.02), Verdict.OFF_PATH),
        ((0.01, 0.2), Verdict.ABSTAIN),
        ((0.2, 0.3), Verdict.ON_PATH),
    ],
)
def test_a_verdict_that_rounding_decides_is_an_abstention(pipeline, images, ends, verdict):
    pipeline.expect(noise_around(pipeline, images, 0))
    findings = pipeline.analyse(images[:1])
    threshold = pipeline.conformal.threshold(int(findings.predicted[0]), pipeline.alpha)
    scale = threshold / 0.1
    least, greatest = (torch.tensor([scale * end], dtype=torch.float64) for end in ends)
    changed = dataclasses.replace(
        findings,
        p_values=greatest if verdict is Verdict.ON_PATH else least,
        steadiness=dataclasses.replace(
            findings.steadiness, least_p_values=least, greatest_p_values=greatest
        ),
    )
    found = pipeline.detect(changed, 0)
    assert found.verdict is verdict
    assert ("rounding" in found.reason) is (verdict is Verdict.ABSTAIN)
    assert found.abstention is (Abstention.ROUNDING_DECIDES if verdict is Verdict.ABSTAIN else None)


def test_a_scores_own_noise_counts_without_any_unstable_gate(pipeline, images):
    wide = dict.fromkeys(LevelName, 1000000.0)
    pipeline.expect(noise_around(pipeline, images, 0, scores=wide))
    assert pipeline.detect(pipeline.analyse(images[:1]), 0).verdict is Verdict.ABSTAIN
