"""A decoupled network that leaves out what is closed."""

from __future__ import annotations

import torch
from torch import Tensor

from detector.decoupling.network import DecoupledNetwork, DecoupledOutput, GateRecord
from detector.decoupling.skipping.compiling import Compiler
from detector.decoupling.skipping.plan import SkippingPlan
from detector.decoupling.skipping.program import Program
from detector.paths import PathLayout

__all__ = ["SkippingNetwork"]


class SkippingNetwork:
    """Computes what a decoupled network does, less what its closed gates throw away.

    Images run one by one, so that an image's numbers cannot hang on its batch. There are no
    gradients, and gates are always those of `Frozen`; for both there is the network itself.

    Args:
        program: See `Compiler`.
        layout: The network's layout.
        plan: What the program was made by.
    """

    def __init__(self, program: Program, layout: PathLayout, plan: SkippingPlan) -> None:
        self._program = program
        self.layout = layout
        self.plan = plan

    @classmethod
    def of(cls, network: DecoupledNetwork, plan: SkippingPlan) -> SkippingNetwork:
        """A network as it is now; what changes in it later is not seen.

        Args:
            network: In evaluation mode.
            plan: One way for each gated layer.

        Raises:
            ValueError: If it trains, or the plan is for other layers.
        """
        return cls(Compiler(network).program(plan), network.layout, plan)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> DecoupledOutput:
        """Class logits and the path, as `DecoupledNetwork.forward` gives them.

        Of a closed channel, `GateRecord.pooled` is zero.

        Args:
            images: Preprocessed images, shape (B, 3, H, W), B at least 1.
        """
        class_logits, logits, means = [], [], []
        for image in torch.split(images, 1):
            # A copy: libraries round by where in memory a number lies.
            found, gates = self._program(image.clone(memory_format=torch.contiguous_format))
            class_logits.append(found)
            logits.append(torch.cat([layer for layer, _ in gates]))
            means.append(torch.cat([layer for _, layer in gates]))
        return DecoupledOutput(
            class_logits=torch.cat(class_logits),
            records=self._records(torch.stack(logits), torch.stack(means)),
            layout=self.layout,
        )

    def _records(self, logits: Tensor, means: Tensor) -> tuple[GateRecord, ...]:
        values = (logits > 0).to(logits.dtype)
        parts = (
            torch.split(every, list(self.layout.sizes), dim=1) for every in (logits, values, means)
        )
        return tuple(
            GateRecord(logits=of_layer, values=opened, pooled=pooled)
            for of_layer, opened, pooled in zip(*parts, strict=True)
        )
