"""How far numbers of this machine may lie from those of the machine that calibrated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from detector.paths import PathLayout
from detector.pipeline.levels import LevelName

__all__ = ["DeviceNoise"]

_SAFETY = 4.0
"""Times the largest difference that was seen: a few golden images do not meet the worst one."""

_FLOOR_ULPS = 16.0
"""Roundings of the largest number that the last bits stand for at the very least; two kernels of
one library were seen to differ by up to six."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceNoise:
    """What rounding may change, as the self-test of a bundle measured it.

    Args:
        gates: Largest change of each gate logit, shape (G,).
        scores: Largest change of a score at each level, by the level's name.
    """

    gates: Tensor
    scores: Mapping[LevelName, float] = field(default_factory=dict)

    @classmethod
    def between(
        cls,
        layout: PathLayout,
        logits: tuple[Tensor, Tensor],
        scores: Mapping[LevelName, tuple[Tensor, Tensor]],
    ) -> DeviceNoise:
        """The noise between two machines, or two ways to compute, on the same images.

        Args:
            layout: Which gates belong to which layer.
            logits: Gate logits as they should be and as they were found, (B, G) each. An image
                of which another gate opened is left out: what follows from a gate is no rounding.
            scores: The same for the scores of each level, (B,) each.
        """
        expected, found = logits
        same = ((expected > 0) == (found > 0)).all(dim=1)  # (B,)
        difference = (found - expected).abs()[same]
        gates = [
            _bound(difference[:, part], expected[:, part]).expand(part.stop - part.start)
            for part in layout.slices
        ]
        return cls(
            gates=torch.cat(gates),
            scores={
                level: float(_bound((new - old).abs()[same], old))
                for level, (old, new) in scores.items()
            },
        )

    def to(self, device: torch.device) -> DeviceNoise:
        """The same noise, to be compared with what is on a device."""
        return DeviceNoise(gates=self.gates.to(device), scores=self.scores)


def _bound(difference: Tensor, scale: Tensor) -> Tensor:
    """The larger of what was seen, with a margin, and of some roundings of the scale."""
    epsilon = torch.finfo(torch.float32).eps
    floor = _FLOOR_ULPS * epsilon * scale.nan_to_num().abs().amax().clamp(min=1.0)
    seen = difference.nan_to_num().amax() if difference.numel() else floor.new_zeros(())
    return torch.maximum(_SAFETY * seen, floor)
