"""A real black-box attack on the bundled network is found early."""

from __future__ import annotations

from importlib.resources import files

import pytest
import torch

from detector.attacks import Square
from detector.bundle import load_bundle
from detector.images import decode_image
from service.campaign_watches import campaign_watch
from service.campaigns import CampaignRule

QUERIES = 200


class Found(Exception):  # noqa: N818  # it ends a test well
    pass


class Watched(torch.nn.Module):
    """Class logits of what an attacker sends, until that is found to be a campaign."""

    def __init__(self, pipeline, watch):
        super().__init__()
        self.network = pipeline.network
        self.pipeline = pipeline
        self.watch = watch
        self.queries = 0

    def forward(self, images):
        sent = (images * 255).round().to(torch.uint8)
        findings = self.pipeline.analyse(sent, "fast")
        for bits, pixels in zip(findings.path.bits.numpy(), sent.numpy(), strict=True):
            self.queries += 1
            if self.watch.see("attacker", bits, pixels).begins:
                raise Found
        return findings.class_logits.clone()


@pytest.mark.parametrize("sample", ["ship_0001", "horse_0013", "truck_0011"])
def test_square_is_found_within_200_queries(sample, clock):
    pipeline = load_bundle().pipeline
    watch = campaign_watch(pipeline, CampaignRule(), most_principals=1, key=b"key", clock=clock)
    model = Watched(pipeline, watch)
    file = files("service") / "samples" / f"{sample}.png"
    image = pipeline.preprocessing.fit(decode_image(file.read_bytes()))
    label = torch.tensor([pipeline.class_names.index(sample.partition("_")[0])])
    with pytest.raises(Found):
        Square(epsilon=2 / 255, queries=QUERIES)(model, image[None] / 255, label)
    assert CampaignRule().related < model.queries <= QUERIES
