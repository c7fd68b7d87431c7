"""From images to verdicts: network, path, score, p-value. What the service calls."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Self, cast

import torch
from torch import Tensor

from detector.conformal import ConformalTable
from detector.copies import parse_copy
from detector.decoupling import DecoupledNetwork, DecoupledOutput
from detector.decoupling.skipping import SkippingNetwork
from detector.devices import exact_32_bit
from detector.errors import BudgetError, InvalidInputError
from detector.paths import PathLayout
from detector.pipeline.device_noise import DeviceNoise
from detector.pipeline.explain import explain_paths, score_parts
from detector.pipeline.findings import (
    Abstention,
    Detection,
    Findings,
    Found,
    LayerWeight,
    Verdict,
)
from detector.pipeline.levels import Level, check_levels
from detector.pipeline.steadiness import Rejudged, Steadiness, Variants, examine
from detector.pipeline.stopwatch import Stopwatch
from detector.preprocessing import Preprocessing
from detector.row_blocks import SCORING_BLOCK, padded_rows, scored_rows
from detector.scoring import Observation, SuspicionScores
from detector.tracing import computing

__all__ = ["Pipeline"]


class Pipeline:
    """Network and fitted detector, ready to look at images.

    Args:
        network: The decoupled network; it is put into evaluation mode.
        levels: What a verdict may cost, at least one level, each once; the first of them is meant
            where none is named.
        preprocessing: How images become the network's input.
        class_names: Name of each class.
        alpha: False-alarm budget in (0, 1); the largest that a caller can ask for.
        device: Where to compute.

    Raises:
        ValueError: If the levels do not belong together, or not to this network, see
            `check_levels`.
    """

    def __init__(
        self,
        *,
        network: DecoupledNetwork,
        levels: Sequence[Level],
        preprocessing: Preprocessing,
        class_names: tuple[str, ...],
        alpha: float,
        device: torch.device | str = "cpu",
    ) -> None:
        check_levels(levels, network.layout, len(class_names))
        self.levels = {level.name: level for level in levels}
        self.network = network.eval()
        self.default_level = levels[0].name
        self._copies = {
            name: parse_copy(name) for level in levels for name in level.suspicion.copies
        }
        self._skipping: SkippingNetwork | None = None
        self.to(device)
        self._noise: DeviceNoise | None = None
        self.preprocessing = preprocessing
        self.class_names = class_names
        self.alpha = alpha

    def to(self, device: torch.device | str) -> Self:
        """Move network and scores to a device, where nothing is skipped yet; the same object."""
        self._skipping = None
        self.device = torch.device(device)
        # The fast layout of convolutions on both kinds of device.
        self.network = self.network.to(self.device).to(memory_format=torch.channels_last)
        for level in self.levels.values():
            level.suspicion.eval().to(self.device)
        return self

    def expect(self, noise: DeviceNoise) -> None:
        """Report from now on what noise on this device may change, and abstain where it decides.

        Args:
            noise: As it was measured on this device.
        """
        self._noise = noise.to(self.device)

    def skip(self, network: SkippingNetwork | None) -> None:
        """Leave out closed filters from now on; where gates are set, the network itself runs.

        Args:
            network: Made of this pipeline's network where it is now; None to compute all again.
        """
        self._skipping = network

    @property
    def layout(self) -> PathLayout:
        """Which gates belong to which layer."""
        return self.network.layout

    @property
    def conformal(self) -> ConformalTable:
        """Calibration of the default level; all levels have the same images and promise."""
        return self.levels[self.default_level].conformal

    @property
    def calibration_counts(self) -> tuple[int, ...]:
        """Number of calibration images that were predicted as each class."""
        return tuple(self.conformal.counts.tolist())

    @property
    def open_rates(self) -> Tensor:
        """Share of clean images of each class that open each gate, in main memory, (K, G)."""
        path_scores = self.levels[self.default_level].suspicion.statistics.path_scores
        return path_scores.open_rates.cpu()

    @cached_property
    def smallest_alpha(self) -> float:
        """The least budget that at least one class can promise."""
        return min(self.conformal.smallest_alpha(c) for c in range(len(self.class_names)))

    def level(self, name: str | None = None) -> Level:
        """The level of a name; the default one where none is given.

        Raises:
            InvalidInputError: If this pipeline has no such level.
        """
        if name is None:
            return self.levels[self.default_level]
        found = {str(known): level for known, level in self.levels.items()}.get(name)
        if found is None:
            raise InvalidInputError(
                f"level should be one of {', '.join(self.levels)}, which this bundle is calibrated "
                f"for. Found {name!r}. Ask for one of them.",
                field="level",
            )
        return found

    def analyse(self, images: Tensor, level: str | None = None) -> Findings:
        """Run the network over a batch and its copies and score the paths.

        Args:
            images: uint8 of shape (B, 3, H, W), B at least 1, at the size of the preprocessing.
            level: How much a verdict may cost; the default level where none is given.

        Raises:
            InvalidInputError: If type, shape or level are others.
        """
        chosen = self.level(level)
        expected = (3, self.preprocessing.height, self.preprocessing.width)
        if images.dtype != torch.uint8 or images.ndim != 4 or tuple(images.shape[1:]) != expected:
            raise InvalidInputError(
                f"Images should be a uint8 tensor of shape (B, {', '.join(map(str, expected))}). "
                f"Found {images.dtype} of shape {tuple(images.shape)}. Preprocess them first.",
                field="images",
            )
        if not len(images):
            raise InvalidInputError(
                "There should be at least one image. Found none.", field="images"
            )
        with torch.inference_mode(), computing():
            stopwatch = Stopwatch(self.device)
            images = images.to(self.device, non_blocking=True)
            seen = self.observe(images, chosen.copies)
            stopwatch.network_asked()
            found = self.judge(seen, chosen.name)
            steadiness = self._steadiness(images, seen, found)
            return replace(found, steadiness=steadiness, spent=stopwatch.stop())

    @torch.inference_mode()
    def observe(self, images: Tensor, copies: tuple[str, ...] = ()) -> Observation:
        """What the network tells about images and some of their copies, on the pipeline's device.

        Args:
            images: uint8 of shape (B, 3, H, W), at the size of the preprocessing.
            copies: Names of copies that a level of this pipeline looks at.
        """
        images = images.to(self.device, non_blocking=True)
        output = self._computed(
            self._skipping or self.network,
            torch.cat([images, *(self._copies[c](images) for c in copies)]),
        )
        count = len(images)
        parts = [
            Observation(path=output.path[rows], class_logits=output.class_logits[rows])
            for rows in (slice(i * count, (i + 1) * count) for i in range(1 + len(copies)))
        ]
        return replace(parts[0], copies=dict(zip(copies, parts[1:], strict=True)))

    def _observe_variants(
        self, images: Tensor, copies: tuple[str, ...], variants: Variants
    ) -> Observation:
        """Run passes of some images again, V of them, with gates set."""
        batch = images[variants.rows]
        for place in sorted(set(variants.passes) - {0}):
            here = [row for row, each in enumerate(variants.passes) if each == place]
            batch[here] = self._copies[copies[place - 1]](batch[here])
        with self.network.gradients(variants.gates):
            output = self._computed(self.network, batch)
        bits = variants.gates.bits(output.path.logits, slice(None))
        return Observation(path=replace(output.path, bits=bits), class_logits=output.class_logits)

    @torch.inference_mode()
    def judge(self, seen: Observation, level: str | None = None) -> Findings:
        """Score what was observed before; `analyse` without the network.

        Args:
            seen: What the network told about images and copies, on the pipeline's device.
            level: At which level; the default one where none is given.

        Raises:
            InvalidInputError: If there is no such level.
            ValueError: If a copy is missing that the level looks at.
        """
        chosen = self.level(level)
        # Not the largest probability: of two logits that differ by little, both can round to it.
        predicted = seen.predicted
        probability = seen.class_logits.softmax(dim=1).gather(1, predicted.unsqueeze(1)).squeeze(1)
        found = _scored(chosen, seen)
        scores, predicted = found.scores.cpu(), predicted.cpu()
        return Findings(
            level=chosen.name,
            class_logits=seen.class_logits.cpu(),
            path=seen.path.cpu(),
            predicted=predicted,
            probability=probability.cpu(),
            scores=scores,
            p_values=chosen.conformal.p_values(scores, predicted),
            layer_weights=found.layer_weights.cpu(),
            testimony=found.testimony.cpu(),
        )

    def explain(self, findings: Findings, rows: Sequence[int]) -> Findings:
        """Say what made the scores of some images, and what their paths tell; of nobody else's.

        Args:
            findings: What `analyse` found.
            rows: Which images.

        Returns:
            The same with the explanations of these images, but of those whose score is not finite.
        """
        finite = findings.scores.isfinite().tolist()
        asked = [row for row in rows if finite[row]]
        if not asked:
            return findings
        started = time.perf_counter()
        suspicion = self.levels[findings.level].suspicion
        with torch.inference_mode(), computing():
            found = explain_paths(
                suspicion.statistics.path_scores,
                findings.path,
                findings.predicted,
                asked,
                class_names=self.class_names,
                device=self.device,
            )
        parts = score_parts(suspicion.fusion.witnesses, findings.testimony, asked)
        found = {row: replace(each, parts=parts[row]) for row, each in found.items()}
        spent = findings.spent
        if spent is not None:
            seconds = time.perf_counter() - started
            spent = replace(spent, scoring_s=spent.scoring_s + seconds)
        return replace(findings, explanations={**findings.explanations, **found}, spent=spent)

    def _steadiness(self, images: Tensor, seen: Observation, found: Findings) -> Steadiness | None:
        if self._noise is None:
            return None
        level = self.levels[found.level]

        def judge(again: Observation) -> Rejudged:
            rejudged = _scored(level, again).scores
            return Rejudged(scores=rejudged.cpu(), predicted=again.predicted.cpu())

        return examine(
            seen,
            found.scores,
            self._noise,
            score_noise=self._noise.scores.get(level.name, 0.0),
            conformal=level.conformal,
            run=partial(self._observe_variants, images, level.copies),
            judge=judge,
        )

    def detect(self, findings: Findings, row: int, alpha: float | None = None) -> Detection:
        """The verdict on one image of a batch.

        Args:
            findings: What `analyse` found.
            row: Which image of the batch.
            alpha: False-alarm budget of this call; the pipeline's own by default.

        Raises:
            BudgetError: If the budget is out of range, see `check_alpha`.
        """
        alpha = self.check_alpha(alpha)
        found = findings.rows[row]
        level = self.levels[findings.level]
        threshold = level.conformal.threshold(found.predicted, alpha)
        outcome, reason = self._decide(level.conformal, found, threshold, alpha)
        if found.p_range is not None and isinstance(outcome, Verdict):
            undecided = _undecided(found.p_range, threshold)
            if undecided is not None:
                outcome, reason = Abstention.ROUNDING_DECIDES, undecided
        if outcome is Verdict.OFF_PATH:
            reason += f" Above all, {_loudest(level, findings.testimony[row])}."
        return Detection(
            predicted_class=found.predicted,
            label=self.class_names[found.predicted],
            probability=found.probability,
            score=found.score,
            p_value=found.p_value,
            alpha=alpha,
            level=findings.level,
            verdict=Verdict.ABSTAIN if isinstance(outcome, Abstention) else outcome,
            reason=reason,
            layers=self._heaviest(found) if math.isfinite(found.score) else (),
            unstable_gates=found.unstable_gates,
            abstention=outcome if isinstance(outcome, Abstention) else None,
            explanation=findings.explanations.get(row),
        )

    def check_alpha(self, alpha: float | None) -> float:
        """The budget of a call; the pipeline's own where none is given.

        Raises:
            BudgetError: If it is not in (0, 1), above the pipeline's own, or below what any class
                can promise.
        """
        if alpha is None:
            return self.alpha
        if not 0 < alpha < 1:
            raise BudgetError(
                "alpha should lie between 0 and 1, both excluded. "
                f"Found {alpha:g}. Give a share, such as 0.01 for 1 %.",
                field="alpha",
            )
        if alpha > self.alpha:
            raise BudgetError(
                f"alpha should be at most {self.alpha:g}, the budget of this bundle. "
                f"Found {alpha:g}. Ask for less, or calibrate a bundle for more.",
                field="alpha",
            )
        if alpha < self.smallest_alpha:
            raise BudgetError(
                f"alpha should be at least {_rounded_up(self.smallest_alpha)}, the least that this "
                f"bundle's calibration can promise. Found {alpha:g}. "
                "Ask for more, or calibrate with more images.",
                field="alpha",
            )
        return alpha

    def prepared(self, images: Tensor) -> Tensor:
        """The network's input on the pipeline's device, (B, 3, H, W) of uint8 -> of float32."""
        prepared = self.preprocessing(images.to(self.device, non_blocking=True))
        return prepared.contiguous(memory_format=torch.channels_last)

    def _computed(
        self, network: DecoupledNetwork | SkippingNetwork, images: Tensor
    ) -> DecoupledOutput:
        """The network's own part of the work, (B, 3, H, W) of uint8 on the device."""
        with exact_32_bit(self.device):
            output: DecoupledOutput = network(self.prepared(images))
        return output

    def _decide(
        self, conformal: ConformalTable, found: Found, threshold: float, alpha: float
    ) -> tuple[Verdict | Abstention, str]:
        """A verdict or the cause of having none, and why in a sentence."""
        label = self.class_names[found.predicted]
        if not math.isfinite(found.score):
            return (
                Abstention.OUTPUT_NOT_FINITE,
                "The network's output on this image is not finite.",
            )
        if not threshold:
            needed = conformal.promise.minimum_images(alpha)
            return Abstention.CALIBRATION_TOO_SMALL, (
                f"A budget of {alpha:.3g} takes {needed} calibration images predicted as {label}; "
                f"this bundle has {int(conformal.counts[found.predicted])}."
            )
        # The threshold is a place divided by n + 1, as the p-value is: equal places are equal.
        if found.p_value <= threshold:
            return Verdict.OFF_PATH, (
                f"It is stranger than nearly all clean images predicted as {label} "
                f"(p-value {found.p_value:.3g}, flagged up to {threshold:.3g})."
            )
        return Verdict.ON_PATH, (
            f"It is no stranger than clean images predicted as {label} are "
            f"(p-value {found.p_value:.3g}, flagged up to {threshold:.3g})."
        )

    def _heaviest(self, found: Found) -> tuple[LayerWeight, ...]:
        return tuple(
            LayerWeight(name=self.layout.names[index], weight=weight)
            for index, weight in zip(found.layers, found.weights, strict=True)
        )


def _scored(level: Level, seen: Observation) -> SuspicionScores:
    """Scores in blocks of rows, so that an image's own do not hang on those of its batch."""
    count, device = len(seen), seen.class_logits.device
    block = scored_rows(device)
    if count % block == 0 and count <= SCORING_BLOCK:
        return cast("SuspicionScores", level.suspicion(seen))
    rows = padded_rows(count, block, device)
    parts: list[SuspicionScores] = [
        level.suspicion(seen[part]) for part in torch.split(rows, SCORING_BLOCK)
    ]
    return SuspicionScores(
        scores=torch.cat([part.scores for part in parts])[:count],
        layer_weights=torch.cat([part.layer_weights for part in parts])[:count],
        testimony=torch.cat([part.testimony for part in parts])[:count],
    )


def _undecided(p_range: tuple[float, float], threshold: float) -> str | None:
    """Why rounding decides between two verdicts, where it does."""
    least, greatest = p_range
    if not least <= threshold < greatest:
        return None
    return (
        "The rounding of this machine decides: the p-value may lie anywhere from "
        f"{least:.3g} to {greatest:.3g} (flagged up to {threshold:.3g})."
    )


def _loudest(level: Level, testimony: Tensor) -> str:
    """What weighed most in a score, as a clause."""
    witnesses = level.suspicion.fusion.witnesses
    if not witnesses:
        return "it resembles attacks that the detector was fitted on"
    return witnesses[int(testimony.argmax())].meaning


def _rounded_up(share: float) -> str:
    """Three digits that are not below the share, so that what a message names is enough."""
    step = 10.0 ** (math.floor(math.log10(share)) - 2)
    return f"{math.ceil(share / step) * step:.3g}"
