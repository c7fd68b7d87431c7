"""How far a network changes its mind over an image when the image is copied a little differently.

Clean images keep path, class and margins under a flip or a shift by one pixel; what an attack won
with finely tuned pixels falls apart. Which way that moves a statistic is known beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from detector.errors import CalibrationError
from detector.paths import PathLayout, PathVectors
from detector.scoring.blocks import layer_indicator

__all__ = ["DIRECTED_STATISTICS", "PATH_BITS", "PATH_LOGITS", "Stability"]

DIRECTED_STATISTICS = ("margin-fall", "probability-fall", "disagreement")
"""Statistics that attacks of every kind raise. One-class scores should take these alone."""

PATH_BITS = "path-bits"
"""Share of all gates that differ. Most attacks raise it; very confident ones can lower it."""

PATH_LOGITS = "path-logits"
"""Mean absolute difference of one layer's gate logits; likewise."""


class Stability(nn.Module):
    r"""One-sided p-values of what changes between images and their copies.

    With the predicted class c of an image x, the margins :math:`m_j = z_c - z_j` of its class
    logits z, and a copy x', the statistics are, each higher for what is more suspicious:

    .. math::
        \text{margin-fall} &= -\min_{j \ne c} \left( m_j(x') - m_j(x) \right) \\
        \text{probability-fall} &= p_c(x) - p_c(x') \\
        \text{disagreement} &= [\arg\max_j z_j(x') \ne c]

    and the distances of the two paths: the share of gates that differ and, layer by layer, the
    mean absolute difference of gate logits.

    Each becomes the share of clean images that reach it, :math:`(1 + \#\{s_i \ge s\}) / (M + 1)`.
    Ranks, not z-scores: the probability hardly moves with most clean images, so that its deviation
    says little about its tail and one statistic would drown the others in any sum; ranks mean
    the same for each statistic and on each network, and are what Fisher's sum of logarithms asks
    for. The price is that p-values end at 1 / (M + 1): fit on at least some thousand images.

    The fitted state is the module's ``state_dict``; `from_state` builds it again.

    Args:
        layout: Which gates belong to which layer.
        copies: Name of each copy, n of them, in the order in which they will be given.

    Raises:
        ValueError: If there is no copy, or one stands twice.
    """

    reference: Tensor
    indicator: Tensor

    def __init__(self, layout: PathLayout, copies: Sequence[str]) -> None:
        super().__init__()
        if not copies or len(set(copies)) != len(copies):
            raise ValueError(
                f"Stability should have at least one copy, each once. Found {list(copies)}."
            )
        self.layout = layout
        self.copies = tuple(copies)
        # Sorted clean values, float32 of shape (S, M).
        self.register_buffer("reference", torch.zeros(len(self.names), 0))
        shares = layer_indicator(layout) / torch.tensor(layout.sizes)
        self.register_buffer("indicator", shares, persistent=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each statistic, S of them, as ``margin-fall:flip``: copy after copy."""
        return tuple(
            name
            for copy in self.copies
            for name in (
                *(f"{statistic}:{copy}" for statistic in (*DIRECTED_STATISTICS, PATH_BITS)),
                *(f"{PATH_LOGITS}:{copy}:{layer}" for layer in self.layout.names),
            )
        )

    @property
    def directed(self) -> Tensor:
        """Which statistics every attack raises as far as is known, bool of shape (S,)."""
        return torch.tensor([name.partition(":")[0] in DIRECTED_STATISTICS for name in self.names])

    @classmethod
    def from_state(
        cls, layout: PathLayout, copies: Sequence[str], state: dict[str, Tensor]
    ) -> Stability:
        """The object whose ``state_dict`` this is.

        Args:
            layout: Which gates belong to which layer.
            copies: Name of each copy.
            state: Its tensors.

        Raises:
            KeyError, RuntimeError, ValueError: If the state is not that of such an object.
        """
        stability = cls(layout, copies)
        if state["reference"].ndim != 2:
            raise ValueError(
                f"reference should have the shape (S, M). Found {tuple(state['reference'].shape)}."
            )
        stability.reference = torch.zeros(len(stability.names), state["reference"].shape[1])
        stability.load_state_dict(state)
        return stability.eval()

    def measure(
        self,
        class_logits: Tensor,
        path: PathVectors,
        copy_logits: Tensor,
        copy_paths: PathVectors,
    ) -> Tensor:
        """The statistics themselves.

        One pass of the network over images and copies, the images first, gives all four: the first
        B rows and the rest.

        Args:
            class_logits: Of the images, float of shape (B, K), K at least 2.
            path: Of the images.
            copy_logits: Class logits of the copies, (n B, K): all images under the first copy, then
                all under the second.
            copy_paths: Paths of the copies, n B of them in the same order.

        Returns:
            Float of shape (B, S), higher is more suspicious; NaN or infinite where the network's
            output is not finite.

        Raises:
            ValueError: If shapes or layouts do not fit each other.
        """
        self._check(class_logits, path, copy_logits, copy_paths)
        images, copies, gates = len(path), len(self.copies), self.layout.gates
        copied = copy_logits.reshape(copies, images, class_logits.shape[1])  # (n, B, K)
        directed = _directed_statistics(class_logits, copied)  # (n, B, 3)
        bits = copy_paths.bits.reshape(copies, images, gates) ^ path.bits  # (n, B, G)
        change = copy_paths.logits.reshape(copies, images, gates) - path.logits
        parts = [
            directed,
            bits.to(directed.dtype).mean(dim=2, keepdim=True),
            change.abs() @ self.indicator.to(change.dtype),  # (n, B, L)
        ]
        return torch.cat(parts, dim=2).transpose(0, 1).flatten(1)

    def fit(self, clean: Tensor) -> Self:
        """Keep what clean images give.

        Args:
            clean: What `measure` gives for clean images, none of which calibration uses, (M, S).

        Returns:
            The same object, fitted.

        Raises:
            ValueError: If there is not one column for each statistic.
            CalibrationError: If there is no image, or a value is not finite.
        """
        if clean.ndim != 2 or clean.shape[1] != len(self.names):
            raise ValueError(
                f"Clean statistics should have {len(self.names)} columns. "
                f"Found the shape {tuple(clean.shape)}."
            )
        if not len(clean) or not bool(clean.isfinite().all()):
            found = int((~clean.isfinite()).any(dim=1).sum())
            raise CalibrationError(
                "Stability should be fitted on at least one clean image, with finite statistics. "
                f"Found {len(clean)} images, {found} of them not finite. Extract more images, or "
                "train the network again."
            )
        self.reference = clean.to(self.reference.dtype).T.contiguous().sort(dim=1).values
        return self

    def forward(self, values: Tensor) -> Tensor:
        """One-sided p-values.

        Args:
            values: What `measure` gives, (B, S).

        Returns:
            Share of clean images with at least such a value, float in (0, 1] of shape (B, S), lower
            is more suspicious; ties count against suspicion; NaN where a value is not finite.

        Raises:
            ValueError: If the object is not fitted, or there is not one column for each statistic.
        """
        statistics, clean = self.reference.shape
        if not clean or values.ndim != 2 or values.shape[1] != statistics:
            raise ValueError(
                f"Values should have {statistics} columns, after a fit on clean images. Found the "
                f"shape {tuple(values.shape)} after a fit on {clean}."
            )
        wanted = values.to(self.reference.dtype).T.contiguous()
        below = torch.searchsorted(self.reference, wanted).T  # (B, S), strictly smaller ones
        p_values = (1 + clean - below).to(values.dtype) / (clean + 1)
        return torch.where(values.isfinite(), p_values, torch.nan)

    def _check(
        self,
        class_logits: Tensor,
        path: PathVectors,
        copy_logits: Tensor,
        copy_paths: PathVectors,
    ) -> None:
        images, rows = len(path), len(path) * len(self.copies)
        shapes = (tuple(class_logits.shape[:1]), tuple(copy_logits.shape[:1]), len(copy_paths))
        if shapes != ((images,), (rows,), rows) or class_logits.shape[1:] != copy_logits.shape[1:]:
            raise ValueError(
                f"Stability should be given {images} images and {rows} copies, with logits of the "
                f"same classes. Found logits of shape {tuple(class_logits.shape)} and "
                f"{tuple(copy_logits.shape)}, and {len(copy_paths)} paths of copies."
            )
        if class_logits.ndim != 2 or class_logits.shape[1] < 2:
            raise ValueError(
                "Class logits should have the shape (B, K), K at least 2. "
                f"Found {tuple(class_logits.shape)}."
            )
        if not path.layout == copy_paths.layout == self.layout:
            raise ValueError(
                f"Paths should have {self.layout.gates} gates. "
                f"Found {path.layout.gates} and {copy_paths.layout.gates}."
            )


def _directed_statistics(logits: Tensor, copied: Tensor) -> Tensor:
    """Fall of margin and of probability, and disagreement: (B, K) and (n, B, K) -> (n, B, 3)."""
    predicted = logits.argmax(dim=1)  # (B,)
    own = predicted.expand(len(copied), -1).unsqueeze(2)  # (n, B, 1)
    change = copied - logits  # (n, B, K)
    margin = change.gather(2, own) - change  # of each m_j
    # The class itself has the margin 0 everywhere: it would cap a rise of all others.
    least = margin.scatter(2, own, torch.inf).amin(dim=2)  # (n, B)
    before = logits.softmax(dim=1).gather(1, predicted.unsqueeze(1)).squeeze(1)  # (B,)
    after = copied.softmax(dim=2).gather(2, own).squeeze(2)  # (n, B)
    disagrees = (copied.argmax(dim=2) != predicted).to(logits.dtype)
    return torch.stack([-least, before - after, disagrees], dim=2)
