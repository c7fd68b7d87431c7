"""Attackers that ask the pipeline as callers of the server do, under the watch for campaigns."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detector.attacks import Square
from detector.pipeline import Findings, LevelName, Pipeline
from service.campaigns import CampaignRule, CampaignWatch, QueryHasher
from service.clock import Clock
from tests.figures.hop_skip_jump import HopSkipJump

__all__ = ["Attacked", "hop_skip_jump", "square", "watch_for"]

_EPSILON = 8 / 255
_LEVEL = LevelName.FAST
_NAME = "attacker"


@dataclass(frozen=True, kw_only=True, slots=True)
class Attacked:
    """How an attack on one image went under the watch.

    Args:
        queries: Images that it sent.
        found: Whether the last of them began a campaign.
    """

    queries: int
    found: bool


class _OverError(Exception):
    """The attack was found, or has no more queries."""


class _WatchedPipeline(nn.Module):
    """The pipeline as an attacker sees it who wants another class and the verdict ON_PATH.

    Args:
        pipeline: What is attacked.
        watch: Who looks for campaigns.
        label: The class that the attacker wants to leave.
        most_queries: After so many the attack ends.
    """

    def __init__(
        self, pipeline: Pipeline, watch: CampaignWatch, *, label: int, most_queries: int
    ) -> None:
        super().__init__()
        self.network = pipeline.network  # attacks ask for the device of the weights
        self._pipeline = pipeline
        self._watch = watch
        self._label = label
        self._most_queries = most_queries
        self.queries = 0
        self.found = False

    def forward(self, images: Tensor) -> Tensor:
        """Class logits; of images that are flagged the label's is highest by what they lack."""
        findings = self._ask(images)
        logits = findings.class_logits.clone()
        others = logits.clone()
        others[:, self._label] = -torch.inf
        lacking = (self._pipeline.alpha - findings.p_values).clamp(min=0).float()
        logits[:, self._label] = logits[:, self._label].maximum(others.amax(1) + lacking)
        return logits

    def passes(self, images: Tensor) -> Tensor:
        """Whether each image gets another class and is not flagged, bool of shape (B,)."""
        findings = self._ask(images)
        return (findings.predicted != self._label) & (findings.p_values > self._pipeline.alpha)

    def _ask(self, images: Tensor) -> Findings:
        sent = (images * 255).round().to(torch.uint8)
        findings = self._pipeline.analyse(sent, _LEVEL)
        for bits, pixels in zip(findings.path.bits.numpy(), sent.numpy(), strict=True):
            self.queries += 1
            self.found = self._watch.see(_NAME, bits, pixels).begins
            if self.found or self.queries == self._most_queries:
                raise _OverError
        return findings


def watch_for(pipeline: Pipeline, clock: Clock, *, principals: int = 1) -> CampaignWatch:
    """A watch with the rule that servers have unless told otherwise."""
    size = pipeline.preprocessing
    hasher = QueryHasher(
        gates=pipeline.layout.gates, height=size.height, width=size.width, key=b"figure"
    )
    return CampaignWatch(CampaignRule(), hasher=hasher, most_principals=principals, clock=clock)


def square(
    pipeline: Pipeline, watch: CampaignWatch, image: Tensor, label: int, *, most_queries: int
) -> Attacked:
    """Square at 8/255 until it succeeds, is found or has no more queries.

    Args:
        pipeline: What is attacked.
        watch: Who looks for campaigns.
        image: Predicted as its label, uint8 of shape (3, H, W).
        label: Its class.
        most_queries: After so many the attack ends.
    """
    model = _WatchedPipeline(pipeline, watch, label=label, most_queries=most_queries)
    attack = Square(epsilon=_EPSILON, queries=most_queries)
    with contextlib.suppress(_OverError):
        attack(model, image[None] / 255, torch.tensor([label]), seed=0)
    return Attacked(queries=model.queries, found=model.found)


def hop_skip_jump(
    pipeline: Pipeline,
    watch: CampaignWatch,
    image: Tensor,
    start: Tensor,
    label: int,
    *,
    most_queries: int,
) -> Attacked:
    """HopSkipJump until it is found or has no more queries.

    Args:
        pipeline: What is attacked.
        watch: Who looks for campaigns.
        image: Predicted as its label, uint8 of shape (3, H, W).
        start: An image of another class that is not flagged.
        label: The class of the image.
        most_queries: After so many the attack ends.
    """
    model = _WatchedPipeline(pipeline, watch, label=label, most_queries=most_queries)
    with contextlib.suppress(_OverError):
        HopSkipJump()(model.passes, image / 255, start / 255, seed=0)
    return Attacked(queries=model.queries, found=model.found)
