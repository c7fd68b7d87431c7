"""A pipeline, and a bundle, whose network leaves out what is closed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
import torch

from detector.bundle import load_bundle, skip_where_it_pays
from detector.bundle import skipping as bundle_skipping
from detector.decoupling.skipping import Comparison, SkippingNetwork, SkippingPlan, Way, choose_plan
from detector.pipeline import row_digests


def skipping_network(pipeline):
    network = pipeline.network
    plan = SkippingPlan.uniform(network.layout.names, Way.CHANNELS_MULTIPLIED)
    return SkippingNetwork.of(network, plan)


@pytest.fixture
def bundle():
    return load_bundle()


def paying(monkeypatch, *, alone=0.5):
    """Let the measurement of time come out so."""

    def choose(network, images, largest_batch):
        found, _ = choose_plan(network, images, 1)
        plan = SkippingPlan.uniform(network.layout.names, Way.CHANNELS_MULTIPLIED)
        times = {"masked_s": 1.0, "skipped_s": alone}
        measured = dataclasses.replace(
            found,
            plan=plan,
            alone=Comparison(images=1, **times),
            together=Comparison(images=largest_batch, **times),
        )
        return measured, SkippingNetwork.of(network, plan)

    monkeypatch.setattr(bundle_skipping, "choose_plan", choose)


def test_a_pipeline_that_skips_finds_the_same_within_rounding(make_pipeline, images):
    pipeline = make_pipeline()
    expected = pipeline.analyse(images)
    pipeline.skip(skipping_network(pipeline))
    found = pipeline.analyse(images)
    assert torch.equal(found.path.bits, expected.path.bits)
    assert torch.equal(found.predicted, expected.predicted)
    torch.testing.assert_close(found.class_logits, expected.class_logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-3, atol=1e-3)


def test_a_pipeline_that_skips_no_more_finds_the_very_same(make_pipeline, images):
    pipeline = make_pipeline()
    expected = pipeline.analyse(images)
    pipeline.skip(skipping_network(pipeline))
    pipeline.skip(None)
    assert torch.equal(pipeline.analyse(images).scores, expected.scores)


def test_a_pipeline_that_moves_does_not_skip_with_the_network_where_it_was(make_pipeline, images):
    pipeline = make_pipeline()
    expected = pipeline.analyse(images)
    pipeline.skip(skipping_network(pipeline))
    pipeline.to("cpu")
    assert torch.equal(pipeline.analyse(images).scores, expected.scores)


def test_an_image_has_the_same_numbers_in_every_size_of_batch_that_skips(make_pipeline):
    pipeline = make_pipeline()
    pipeline.skip(skipping_network(pipeline))
    digests = {frozenset(row_digests(pipeline, "fast", size)) for size in (1, 2, 5, 8, 13)}
    assert len(digests) == 1
    assert len(*digests) == 1


def test_a_bundle_skips_where_it_pays_and_measures_its_noise_again(bundle, monkeypatch):
    paying(monkeypatch)
    expected: list[object] = []
    monkeypatch.setattr(bundle.pipeline, "expect", expected.append)
    found = skip_where_it_pays(bundle, largest_batch=8)
    assert found is not None
    assert found.pays
    (noise,) = expected
    assert noise.gates.shape == (bundle.pipeline.layout.gates,)


def test_a_bundle_computes_all_where_skipping_does_not_pay(bundle, monkeypatch):
    paying(monkeypatch, alone=1.2)
    monkeypatch.setattr(bundle.pipeline, "skip", lambda _network: pytest.fail("it skips"))
    found = skip_where_it_pays(bundle, largest_batch=8)
    assert found is not None
    assert not found.pays


def test_a_bundle_whose_self_test_fails_when_it_skips_computes_all(bundle, monkeypatch, caplog):
    paying(monkeypatch)
    assert isinstance(bundle.golden, Mapping)
    images = bundle.golden["images"]
    before = bundle.pipeline.analyse(images).scores
    other = {**bundle.golden, "class_logits": bundle.golden["class_logits"] + 1}
    assert skip_where_it_pays(dataclasses.replace(bundle, golden=other), largest_batch=8) is None
    assert "computed all the same" in caplog.text
    assert torch.equal(bundle.pipeline.analyse(images).scores, before)


def test_a_bundle_without_golden_images_is_not_measured(bundle):
    assert skip_where_it_pays(dataclasses.replace(bundle, golden=None), largest_batch=8) is None
