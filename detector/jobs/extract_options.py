"""What to extract, and how."""

from __future__ import annotations

from dataclasses import dataclass

from detector.attacks import AttackSpec
from detector.copies import Copy
from detector.devices import usable_device
from detector.errors import InvalidInputError
from detector.path_table import Place, SplitName

__all__ = ["ExtractOptions"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtractOptions:
    """What to extract, and how.

    Args:
        output: Folder of the path table, here or in object storage; what is there already is kept.
        splits: Which splits.
        attacks: What is done to their images, beside nothing at all; noise and corruptions count
            among them.
        copies: Which copies of the images, clean and attacked, are looked at beside them.
        limit: Number of images of each split that are there afterwards, or all by default. They
            are drawn in a fixed order, so that a larger limit adds to a smaller one's; only a last
            shard that was not full is made again. A smaller one takes nothing away.
        batch_size: Images that the network sees at once, positive.
        shard_size: Images of one file, positive; a stop loses at most so many.
        device: Where the network runs, as torch names it.
        seed: Seed of what is random in the attacks.

    Raises:
        InvalidInputError: If a number is out of range, an attack names a network that it goes
            through (which the job does itself), or the device cannot be used.
    """

    output: Place
    splits: tuple[SplitName, ...]
    attacks: tuple[AttackSpec, ...] = ()
    copies: tuple[Copy, ...] = ()
    limit: int | None = None
    batch_size: int = 100
    shard_size: int = 500
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("limit", "batch_size", "shard_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidInputError(f"{name} should be at least 1. Found {value}.", field=name)
        if not self.splits:
            raise InvalidInputError(
                "Splits to extract should be named. Found none.", field="splits"
            )
        if named := [spec.label for spec in self.attacks if spec.through]:
            raise InvalidInputError(
                "Attacks to make should be named without the network that they go through. "
                f"Found {named[0]}. Give that network's file instead (--attack-through).",
                field="attacks",
            )
        usable_device(self.device)
