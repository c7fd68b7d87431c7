"""What a decoupled network is trained for, beside its cross-entropy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from detector.decoupling.network import DecoupledOutput, GateRecord
from detector.paths import PathLayout

__all__ = [
    "Alignment",
    "DecouplingLoss",
    "Distillation",
    "GatesToOutput",
    "LossTerms",
    "LossWeights",
    "OutputToGates",
    "sparsity",
]


class Alignment(ABC):
    """Divergence between a layer's pooled output and its gates, one choice of direction."""

    @abstractmethod
    def __call__(self, record: GateRecord) -> Tensor:
        """Mean over images and channels, a scalar."""


@dataclass(frozen=True, slots=True)
class OutputToGates(Alignment):
    r""":math:`KL(softmax(o) \| softmax(z))`, the paper's choice for ResNet and GoogLeNet."""

    @override
    def __call__(self, record: GateRecord) -> Tensor:
        return _divergence(record.pooled, record.values)


@dataclass(frozen=True, slots=True)
class GatesToOutput(Alignment):
    r""":math:`KL(softmax(z) \| softmax(o))`, the paper's choice for VGG."""

    @override
    def __call__(self, record: GateRecord) -> Tensor:
        return _divergence(record.values, record.pooled)


def _divergence(true: Tensor, model: Tensor) -> Tensor:
    pointwise = functional.kl_div(
        functional.log_softmax(model.float(), dim=1),
        functional.log_softmax(true.float(), dim=1),
        log_target=True,
        reduction="none",
    )
    return pointwise.mean()


def sparsity(record: GateRecord, open_share: float) -> Tensor:
    r""":math:`|\, mean_b \|z_b\|_1 - R \, C \,|` of one layer, a scalar.

    Args:
        record: What the layer did.
        open_share: Target share R of open gates, in [0, 1]; 0 is the plain L1 norm.
    """
    open_gates = record.values.float().sum(dim=1).mean()
    return (open_gates - open_share * record.values.shape[1]).abs()


@dataclass(frozen=True, kw_only=True, slots=True)
class LossWeights:
    """How much each term counts, per gated layer.

    Args:
        alignment: Weight lambda_k of the divergence between output and gates.
        information: Weight lambda_m of the bound on the mutual information with the class.
        sparsity: Weight lambda_s of the distance to the target share of open gates.
        open_share: Target share R of open gates, in [0, 1].
    """

    alignment: float
    information: float
    sparsity: float
    open_share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Distillation:
    r"""The plain network teaches: its class probabilities stand beside the labels.

    .. math:: (1 - w) \, CE(f(x), t) + w \, T^2 \, KL(softmax(g(x) / T) \| softmax(f(x) / T))

    Args:
        weight: Share w of the teacher g in the classification term, in (0, 1].
        temperature: Softness T of both sides, positive; above 1 the wrong classes count more.

    Raises:
        ValueError: If a field is outside of its range.

    Reference:
        Hinton et al., "Distilling the Knowledge in a Neural Network", 2015.
    """

    weight: float
    temperature: float

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise ValueError(f"weight should lie in (0, 1]. Found {self.weight:g}.")
        if not self.temperature > 0:
            raise ValueError(f"temperature should be positive. Found {self.temperature:g}.")

    def __call__(self, class_logits: Tensor, taught: Tensor, targets: Tensor) -> Tensor:
        """The classification term of one batch, a scalar.

        Args:
            class_logits: Of the network that learns, shape (B, K).
            taught: Class logits of the teacher, shape (B, K).
            targets: Class indices, shape (B,).
        """
        divergence = functional.kl_div(
            functional.log_softmax(class_logits / self.temperature, dim=1),
            functional.log_softmax(taught / self.temperature, dim=1),
            log_target=True,
            reduction="batchmean",
        )
        labelled = functional.cross_entropy(class_logits, targets)
        softened = self.temperature**2 * divergence
        return (1 - self.weight) * labelled + self.weight * softened


@dataclass(frozen=True, kw_only=True, slots=True)
class LossTerms:
    """One step's loss and what it is made of; all but ``total`` are unweighted sums over layers.

    Args:
        total: What is minimised, a scalar with gradient.
        classification: Cross-entropy of the class logits, or what `Distillation` makes of it.
        alignment: Sum over layers of the divergence between output and gates.
        information: Sum over layers of the heads' cross-entropy.
        sparsity: Sum over layers of the distance to the target share.
    """

    total: Tensor
    classification: Tensor
    alignment: Tensor
    information: Tensor
    sparsity: Tensor


class DecouplingLoss(nn.Module):
    r"""Cross-entropy, alignment, mutual information and sparsity.

    .. math:: CE(f(x), t) + \sum_l (\lambda_k KL_l + \lambda_m CE(head_l(z_l), t) + \lambda_s S_l)

    Each layer's head is linear without bias and serves in training only. Its cross-entropy bounds
    the mutual information of class and gates from below: :math:`I(a; z) \ge H(a) - CE`
    (Barber and Agakov, "The IM Algorithm", 2003).

    Args:
        layout: Which gates belong to which layer.
        classes: Number of classes, K.
        weights: How much each term counts.
        alignment: The direction of the divergence.
        distillation: How much a teacher counts, for batches that come with one; None for not at
            all.
    """

    def __init__(
        self,
        layout: PathLayout,
        classes: int,
        *,
        weights: LossWeights,
        alignment: Alignment,
        distillation: Distillation | None = None,
    ) -> None:
        super().__init__()
        self.weights = weights
        self.alignment = alignment
        self.distillation = distillation
        self.classes = classes
        self.heads = nn.ModuleList(nn.Linear(size, classes, bias=False) for size in layout.sizes)

    def forward(
        self, output: DecoupledOutput, targets: Tensor, taught: Tensor | None = None
    ) -> LossTerms:
        """The loss of one batch.

        Args:
            output: What the network did.
            targets: Class indices, shape (B,).
            taught: Class logits of the teacher, shape (B, K); None where there is none.
        """
        class_logits = output.class_logits.float()
        if self.distillation is None or taught is None:
            classification = functional.cross_entropy(class_logits, targets)
        else:
            classification = self.distillation(class_logits, taught.float(), targets)
        zero = classification.new_zeros(())
        alignment, information, gap = zero, zero, zero
        for record, head in zip(output.records, self.heads, strict=True):
            alignment = alignment + self.alignment(record)
            information = information + functional.cross_entropy(
                head(record.values).float(), targets
            )
            gap = gap + sparsity(record, self.weights.open_share)
        total = (
            classification
            + self.weights.alignment * alignment
            + self.weights.information * information
            + self.weights.sparsity * gap
        )
        return LossTerms(
            total=total,
            classification=classification.detach(),
            alignment=alignment.detach(),
            information=information.detach(),
            sparsity=gap.detach(),
        )
