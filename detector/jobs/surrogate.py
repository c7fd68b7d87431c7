"""Another network, on which attack images are made for the one that is looked at."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import nn

from detector.attacks import AttackSpec, StrongestOf, TransferThrough
from detector.data import Splits
from detector.decoupling import DecoupledNetwork, is_always_open
from detector.errors import DataError, InvalidInputError
from detector.fingerprints import network_digest
from detector.preprocessing import Preprocessing
from detector.weights import NetworkInfo, load_network, load_plain

__all__ = ["Surrogate"]

_DIGITS = 12
"""Of the digest, enough to tell the networks of one table apart; its shards keep all of it."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Surrogate:
    """A network that the attacker has instead of the one under attack: another seed, a plain one.

    Args:
        network: The network, decoupled or plain, in any mode.
        class_names: Name of each of its classes.
        preprocessing: How images become its input.
        name: What reports call it; empty where nobody reads of it.
    """

    network: nn.Module
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    name: str = ""
    digest: str = field(init=False)
    """Of its weights, see `detector.fingerprints.network_digest`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", network_digest(self.network))

    @classmethod
    def load(cls, path: Path) -> Surrogate:
        """The network in a file that `offpath train` wrote, decoupled or plain.

        Raises:
            DataError: If the file is missing, unreadable or neither.
        """
        network: nn.Module
        try:
            network, info = load_network(path)
        except DataError:
            network, info = load_plain(path)  # says what is wrong with a file that is neither
        return cls(
            network=network,
            class_names=info.class_names,
            preprocessing=info.preprocessing,
            name=_name(path, network, info),
        )

    @property
    def label(self) -> str:
        """Its name in the labels of attacks, behind the ``@``."""
        return self.digest[:_DIGITS]

    def attacker(self, strongest: StrongestOf) -> TransferThrough:
        """What makes images on it and shows them to the network under attack."""
        return TransferThrough(
            surrogate=self.network, preprocessing=self.preprocessing, strongest=strongest
        )

    def named_in(self, attacks: tuple[AttackSpec, ...]) -> tuple[AttackSpec, ...]:
        """The attacks with this network named as the one that they go through.

        Raises:
            InvalidInputError: If there is no attack.
        """
        if not attacks:
            raise InvalidInputError(
                "Attacks that go through another network should be named. Found none. "
                "Give at least one (--attack).",
                field="attacks",
            )
        return tuple(replace(spec, through=self.label) for spec in attacks)

    def check_fits(self, network: nn.Module, splits: Splits) -> None:
        """Refuse a surrogate from which nothing can be transferred.

        Args:
            network: The network under attack.
            splits: Its data set, with its preprocessing.

        Raises:
            DataError: If it is that network itself, or has other classes or another input size.
        """
        if self.digest in _digests(network):
            raise DataError(
                "The network that attacks go through should be another one than the network under "
                f"attack. Found {self.label} twice. Leave it out to attack the network itself."
            )
        pairs = (
            ("classes", ", ".join(self.class_names), ", ".join(splits.class_names)),
            ("input size", _size(self.preprocessing), _size(splits.preprocessing)),
        )
        for name, found, expected in pairs:
            if found != expected:
                raise DataError(
                    f"The network that attacks go through should have the {name} of the network "
                    f"under attack, {expected}. Found {found}. Give one trained on the same data."
                )


def _name(path: Path, network: nn.Module, info: NetworkInfo) -> str:
    """File and content, without folders, as ``plain (cifar-resnet20, plain, seed 1)``."""
    kind = "decoupled" if isinstance(network, DecoupledNetwork) else "plain"
    seed = info.provenance.get("seed")
    known = [info.backbone.value, kind, *([] if seed is None else [f"seed {seed}"])]
    return f"{path.stem} ({', '.join(known)})"


def _digests(network: nn.Module) -> set[str]:
    """Digests by which a network goes: that of a plain one does not change by wrapping it."""
    digests = {network_digest(network)}
    if isinstance(network, DecoupledNetwork) and is_always_open(network):
        digests.add(network_digest(network.backbone))
    return digests


def _size(preprocessing: Preprocessing) -> str:
    return f"{preprocessing.height} x {preprocessing.width} pixels"
