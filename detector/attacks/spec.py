"""Attacks and corruptions by name, as commands, tables and reports write them."""

from __future__ import annotations

import dataclasses
import math
import re
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from detector.attacks.base import Attack
from detector.attacks.black_box import Square
from detector.attacks.corruption import Corrupted
from detector.attacks.eight_bit import Ddn
from detector.attacks.gradient_sign import ApgdCe, Bim, Fgsm, Mim, Pgd
from detector.attacks.minimum_norm import CwL2, DeepFool
from detector.attacks.noise import GaussianNoise, SignNoise, UniformNoise
from detector.attacks.spatial import Spatial
from detector.attacks.targeted import ApgdT, Fab
from detector.corruptions import Corruption, CorruptionName, corruption_class
from detector.errors import InvalidInputError

__all__ = ["AttackName", "AttackSpec", "attack_class"]

_NUMBER = re.compile(
    r"(?P<value>\d{1,9}(?:\.\d{0,18})?(?:e-?\d{1,2})?)(?:/(?P<divisor>\d{1,9}))?", re.ASCII
)
_SURROGATE = re.compile(r"[0-9a-f]{12}", re.ASCII)
_FIELD = "attack"
_STRENGTHS = {"epsilon": "8/255", "severity": "3"}
"""What has to be given where there is such an option, and an example of it."""


class AttackName(StrEnum):
    """An attack, or noise of an attack's norm, by name."""

    FGSM = "fgsm"
    BIM = "bim"
    PGD = "pgd"
    MIM = "mim"
    APGD_CE = "apgd-ce"
    APGD_T = "apgd-t"
    FAB = "fab"
    SQUARE = "square"
    CW_L2 = "cw-l2"
    DEEPFOOL = "deepfool"
    DDN = "ddn"
    SPATIAL = "spatial"
    GAUSSIAN_NOISE = "noise-gaussian"
    UNIFORM_NOISE = "noise-uniform"
    SIGN_NOISE = "noise-sign"


_CLASSES: dict[AttackName, type[Attack]] = {
    AttackName.FGSM: Fgsm,
    AttackName.BIM: Bim,
    AttackName.PGD: Pgd,
    AttackName.MIM: Mim,
    AttackName.APGD_CE: ApgdCe,
    AttackName.APGD_T: ApgdT,
    AttackName.FAB: Fab,
    AttackName.SQUARE: Square,
    AttackName.CW_L2: CwL2,
    AttackName.DEEPFOOL: DeepFool,
    AttackName.DDN: Ddn,
    AttackName.SPATIAL: Spatial,
    AttackName.GAUSSIAN_NOISE: GaussianNoise,
    AttackName.UNIFORM_NOISE: UniformNoise,
    AttackName.SIGN_NOISE: SignNoise,
}


def attack_class(name: AttackName | CorruptionName) -> type[Attack]:
    """The class of attacks that a name stands for; all corruptions share one."""
    return Corrupted if isinstance(name, CorruptionName) else _CLASSES[name]


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackSpec:
    """An attack or a corruption with its options, checked when it is made.

    Args:
        name: Which attack or corruption.
        options: Name and value of each option that is given, in any order; they are kept in the
            order of the attack's own arguments, without those that have their default value.
        through: For a transfer attack the beginning of the digest of the network that the images
            are made on, 12 hexadecimal digits; empty where they are made on the network itself.

    Raises:
        InvalidInputError: If the attack has no such option, lacks one, or refuses its value.
    """

    name: AttackName | CorruptionName
    options: tuple[tuple[str, float], ...] = ()
    through: str = ""

    def __post_init__(self) -> None:
        if self.through and not _SURROGATE.fullmatch(self.through):
            raise InvalidInputError(
                "The network that an attack goes through should be named by 12 hexadecimal digits. "
                f"Found {self.through!r}.",
                field=_FIELD,
            )
        known = dataclasses.fields(_described(self.name))  # type: ignore[arg-type]  # each is a dataclass
        names = [field.name for field in known]
        given = dict(self.options)
        unknown = [name for name in given if name not in names]
        if unknown or len(given) != len(self.options):
            raise InvalidInputError(
                f"{self.name} should have options among {', '.join(names)}, each once. "
                f"Found {', '.join(name for name, _ in self.options)}.",
                field=_FIELD,
            )
        for strength, example in _STRENGTHS.items():
            if strength in names and strength not in given:
                raise InvalidInputError(
                    f"{self.name} should be followed by its {strength}. Found none. "
                    f"Write {self.name}:{example}.",
                    field=_FIELD,
                )
        for field in known:
            if field.name in given and field.type == "int":
                given[field.name] = self._whole(field.name, given[field.name])
        kept = ((f.name, given[f.name]) for f in known if given.get(f.name, f.default) != f.default)
        object.__setattr__(self, "options", tuple(kept))
        self.build()

    @classmethod
    def parse(cls, text: str) -> AttackSpec:
        """Read a spec such as ``pgd:8/255``, ``pgd:eps=8/255,steps=20``, ``cw-l2`` or ``fog:3``.

        Args:
            text: The attack's name and, behind a colon, its options separated by commas. A value
                without a name is the epsilon, of a corruption the severity; ``eps`` is short for
                epsilon. In labels of transfer attacks ``@`` and the network that they go through
                follow.

        Raises:
            InvalidInputError: If the text does not read so.
        """
        made, at, through = (part.strip() for part in text.partition("@"))
        written, _, rest = made.partition(":")
        name = _name(written)
        strength = "severity" if isinstance(name, CorruptionName) else "epsilon"
        parts = [part.strip() for part in rest.split(",")] if rest.strip() else []
        options = tuple(_option(part, text, strength) for part in parts)
        # An @ with nothing behind it stays, and is refused as no digest.
        return cls(name=name, options=options, through=through or at)

    @property
    def epsilon(self) -> float | None:
        """Radius in [0, 1] pixel scale; None for attacks that have none."""
        return dict(self.options).get("epsilon")

    @property
    def label(self) -> str:
        """The shortest text from which `parse` makes this spec."""
        parts = [_option_text(name, value) for name, value in self.options]
        made = f"{self.name}:{','.join(parts)}" if parts else str(self.name)
        return f"{made}@{self.through}" if self.through else made

    def build(self) -> Attack:
        """The attack itself."""
        options = dict(self.options)
        if isinstance(self.name, CorruptionName):
            made = corruption_class(self.name)(severity=int(options["severity"]))
            return Corrupted(corruption=made)
        return attack_class(self.name)(**options)

    def _whole(self, name: str, value: float) -> int:
        if value != int(value):
            raise InvalidInputError(
                f"{name} of {self.name} should be a whole number. Found {value:g}.", field=_FIELD
            )
        return int(value)


def _name(text: str) -> AttackName | CorruptionName:
    written = text.strip().lower()
    with suppress(ValueError):
        return AttackName(written)
    with suppress(ValueError):
        return CorruptionName(written)
    raise InvalidInputError(
        f"An attack should be one of {', '.join(AttackName)}, or a corruption, one of "
        f"{', '.join(CorruptionName)}. Found {text!r}.",
        field=_FIELD,
    )


def _described(name: AttackName | CorruptionName) -> type[Attack | Corruption]:
    """The dataclass whose fields are the options."""
    return corruption_class(name) if isinstance(name, CorruptionName) else attack_class(name)


def _option(part: str, text: str, strength: str) -> tuple[str, float]:
    name, equals, number = part.partition("=")
    if not equals:
        name, number = strength, part
    name = name.strip().replace("-", "_")
    match = _NUMBER.fullmatch(number.strip())
    divisor = int(match["divisor"] or 1) if match else 0
    if match is None or not divisor:
        raise InvalidInputError(
            f"Options of an attack should be numbers, as in pgd:eps=8/255,steps=20. "
            f"Found {part!r} in {text!r}.",
            field=_FIELD,
        )
    return "epsilon" if name == "eps" else name, float(match["value"]) / divisor


def _option_text(name: str, value: float) -> str:
    if name == "epsilon":
        return _epsilon_text(value)
    return f"{value:g}" if name == "severity" else f"{name}={value:.12g}"


def _epsilon_text(epsilon: float) -> str:
    steps = epsilon * 255
    if math.isclose(steps, round(steps), rel_tol=0, abs_tol=1e-9) and round(steps) > 0:
        return f"{round(steps)}/255"
    return f"{epsilon:.12g}"
