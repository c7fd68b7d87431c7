"""From images to verdicts: network, path, score, p-value. What the service calls."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from detector.conformal import ConformalTable
from detector.decoupling import DecoupledNetwork, DecoupledOutput
from detector.devices import exact_32_bit
from detector.errors import BudgetError, InvalidInputError
from detector.paths import PathLayout, PathVectors
from detector.pipeline.findings import Detection, Findings, LayerWeight, Verdict
from detector.preprocessing import Preprocessing
from detector.scoring import Suspicion, SuspicionScores

__all__ = ["Pipeline"]

_HEAVIEST = 5
"""How many layers a detection names."""


class Pipeline:
    """Network and fitted detector, ready to look at images.

    Args:
        network: The decoupled network; it is put into evaluation mode.
        suspicion: Scores of its paths.
        conformal: Calibration scores per predicted class.
        preprocessing: How images become the network's input.
        class_names: Name of each class.
        alpha: False-alarm budget in (0, 1); the largest that a caller can ask for.
        device: Where to compute.

    Raises:
        ValueError: If the parts are not of the same layout and classes.
    """

    def __init__(
        self,
        *,
        network: DecoupledNetwork,
        suspicion: Suspicion,
        conformal: ConformalTable,
        preprocessing: Preprocessing,
        class_names: tuple[str, ...],
        alpha: float,
        device: torch.device | str = "cpu",
    ) -> None:
        classes = (conformal.classes, suspicion.features.classes, len(class_names))
        if suspicion.layout != network.layout or len(set(classes)) != 1:
            raise ValueError(
                "The parts of a pipeline should have one layout and one number of classes. "
                f"Found {suspicion.layout.gates} and {network.layout.gates} gates, "
                f"{classes} classes."
            )
        self.network = network.eval()
        self.suspicion = suspicion.eval()
        self.to(device)
        self.conformal = conformal
        self.preprocessing = preprocessing
        self.class_names = class_names
        self.alpha = alpha

    def to(self, device: torch.device | str) -> Self:
        """Move network and scores to a device; the same object."""
        self.device = torch.device(device)
        # The fast layout of convolutions on both kinds of device.
        self.network = self.network.to(self.device).to(memory_format=torch.channels_last)
        self.suspicion = self.suspicion.to(self.device)
        return self

    @property
    def layout(self) -> PathLayout:
        """Which gates belong to which layer."""
        return self.suspicion.layout

    @property
    def calibration_counts(self) -> tuple[int, ...]:
        """Number of calibration images that were predicted as each class."""
        return tuple(self.conformal.counts.tolist())

    @property
    def smallest_alpha(self) -> float:
        """The least budget that at least one class can promise."""
        return min(self.conformal.smallest_alpha(c) for c in range(len(self.class_names)))

    def analyse(self, images: Tensor) -> Findings:
        """Run the network over a batch and score its paths.

        Args:
            images: uint8 of shape (B, 3, H, W), B at least 1, at the size of the preprocessing.

        Raises:
            InvalidInputError: If type or shape are others.
        """
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
        with torch.inference_mode():
            return self._judge(self._network(images))

    @torch.inference_mode()
    def judge(self, path: PathVectors, class_logits: Tensor) -> Findings:
        """Score paths that were extracted before; `analyse` without the network.

        Args:
            path: The paths, on the pipeline's device.
            class_logits: Class logits of the same images, shape (B, K), on the same device.
        """
        probabilities = class_logits.softmax(dim=1)
        probability, predicted = probabilities.max(dim=1)
        found: SuspicionScores = self.suspicion(path, class_logits, predicted)
        scores, predicted = found.scores.cpu(), predicted.cpu()
        return Findings(
            class_logits=class_logits.cpu(),
            path=path.cpu(),
            predicted=predicted,
            probability=probability.cpu(),
            scores=scores,
            p_values=self.conformal.p_values(scores, predicted),
            layer_weights=found.layer_weights.cpu(),
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
        predicted = int(findings.predicted[row])
        score = float(findings.scores[row])
        p_value = float(findings.p_values[row])
        layers = self._heaviest(findings.layer_weights[row]) if math.isfinite(score) else ()
        verdict, reason = self._decide(predicted, score, p_value, alpha, layers)
        return Detection(
            predicted_class=predicted,
            label=self.class_names[predicted],
            probability=float(findings.probability[row]),
            score=score,
            p_value=p_value,
            alpha=alpha,
            verdict=verdict,
            reason=reason,
            layers=layers,
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

    def _network(self, images: Tensor) -> DecoupledOutput:
        """The network's own part of the work."""
        images = images.to(self.device, non_blocking=True)
        prepared = self.preprocessing(images).contiguous(memory_format=torch.channels_last)
        with exact_32_bit(self.device):
            output: DecoupledOutput = self.network(prepared)
        return output

    def _judge(self, output: DecoupledOutput) -> Findings:
        """Everything after the network."""
        return self.judge(output.path, output.class_logits)

    def _decide(
        self,
        predicted: int,
        score: float,
        p_value: float,
        alpha: float,
        layers: tuple[LayerWeight, ...],
    ) -> tuple[Verdict, str]:
        label = self.class_names[predicted]
        if not math.isfinite(score):
            return Verdict.ABSTAIN, "The network's output on this image is not finite."
        threshold = self.conformal.threshold(predicted, alpha)
        if not threshold:
            needed = self.conformal.promise.minimum_images(alpha)
            return Verdict.ABSTAIN, (
                f"A budget of {alpha:.3g} takes {needed} calibration images predicted as {label}; "
                f"this bundle has {int(self.conformal.counts[predicted])}."
            )
        # The threshold is a place divided by n + 1, as the p-value is: equal places are equal.
        if p_value <= threshold:
            return Verdict.OFF_PATH, (
                f"Its path is stranger than that of nearly all clean images predicted as {label} "
                f"(p-value {p_value:.3g}, flagged up to {threshold:.3g}); it lies furthest from "
                f"its class in {layers[0].name}."
            )
        return Verdict.ON_PATH, (
            f"Its path is one that clean images predicted as {label} take "
            f"(p-value {p_value:.3g}, flagged up to {threshold:.3g})."
        )

    def _heaviest(self, weights: Tensor) -> tuple[LayerWeight, ...]:
        largest = weights.topk(min(_HEAVIEST, len(weights)))
        return tuple(
            LayerWeight(name=self.layout.names[index], weight=weight)
            for weight, index in zip(largest.values.tolist(), largest.indices.tolist(), strict=True)
        )


def _rounded_up(share: float) -> str:
    """Three digits that are not below the share, so that what a message names is enough."""
    step = 10.0 ** (math.floor(math.log10(share)) - 2)
    return f"{math.ceil(share / step) * step:.3g}"
