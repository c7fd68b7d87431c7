"""What the fields of a plan should be, one function for each kind of field."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from detector.attacks import AttackName, AttackSpec, attack_class
from detector.corruptions import CorruptionName
from detector.errors import InvalidInputError

__all__ = [
    "check_among",
    "check_attacks",
    "check_corruptions",
    "check_families",
    "check_names",
    "check_noise",
    "check_same_norm",
    "check_shares",
    "check_whole",
]

_NAME = re.compile(r"[a-z0-9]+([-:._][a-z0-9]+)*", re.ASCII)
_NOISE = tuple(name for name in AttackName if attack_class(name).is_benign)


def check_names(field: str, names: Sequence[str], *, least: int = 1) -> None:
    """Refuse names that are not in lower case with hyphens, repeat, or are too few."""
    _check_count(field, names, least)
    for name in names:
        if not _NAME.fullmatch(name):
            raise _wrong(field, "in lower case with hyphens between words", repr(name))


def check_whole(
    field: str, values: Sequence[int], *, least: int, most: int | None = None, empty: bool = False
) -> None:
    """Refuse whole numbers that are out of range, repeat, or are not there."""
    _check_count(field, values, 0 if empty else 1)
    for value in values:
        if value < least or (most is not None and value > most):
            should = f"at least {least}" if most is None else f"from {least} to {most}"
            raise _wrong(field, should, str(value))


def check_shares(field: str, values: Sequence[float]) -> None:
    """Refuse shares that are not between 0 and 1, repeat, or are not there."""
    _check_count(field, values, 1)
    for value in values:
        if not 0 < value < 1:
            raise _wrong(field, "between 0 and 1, both excluded", f"{value:g}")


def check_attacks(field: str, labels: Sequence[str], *, least: int = 1) -> tuple[str, ...]:
    """The attacks' own labels; repetitions and what is no attack are refused."""
    specs = _specs(field, labels, least=least)
    for spec in specs:
        if spec.name in _NOISE:
            raise _wrong(field, "attacks; noise has a field of its own", spec.label)
        if isinstance(spec.name, CorruptionName):
            raise _wrong(field, "attacks; corruptions have a field of their own", spec.label)
    return tuple(spec.label for spec in specs)


def check_among(field: str, label: str, attacks: Sequence[str]) -> str:
    """The attack's own label; refused where it is none of the plan's attacks."""
    (spec,) = _specs(field, [label])
    if spec.label not in attacks:
        raise _wrong(field, "one of the plan's attacks", spec.label)
    return spec.label


def check_noise(field: str, labels: Sequence[str]) -> tuple[str, ...]:
    """The noises' own labels; each kind has to be there, for the noise control."""
    specs = _specs(field, labels)
    for spec in specs:
        if spec.name not in _NOISE:
            raise _wrong(field, f"of the kinds {', '.join(_NOISE)}", spec.label)
    if missing := [name for name in _NOISE if name not in [spec.name for spec in specs]]:
        raise _wrong(field, f"of each of the kinds {', '.join(_NOISE)}", f"no {missing[0]}")
    return tuple(spec.label for spec in specs)


def check_corruptions(field: str, names: Sequence[str]) -> None:
    """Refuse a name that no corruption has."""
    for name in names:
        if name not in tuple(CorruptionName):
            raise _wrong(field, f"among {', '.join(CorruptionName)}", name)


def check_same_norm(field: str, noise: Sequence[AttackSpec], attacks: Sequence[AttackSpec]) -> None:
    """Refuse noise of a norm that no attack has, as nothing could be compared with it."""
    norms = {spec.epsilon for spec in attacks} - {None}
    for spec in noise:
        if norms and spec.epsilon not in norms:
            raise _wrong(field, "of an attack's epsilon", spec.label)


def check_families(
    families: Mapping[str, Sequence[AttackName]], attacks: Sequence[AttackSpec]
) -> None:
    """Refuse families that do not hold each attack of the plan exactly once."""
    check_names("families", tuple(families))
    for family, members in families.items():
        _check_count(f"families.{family}", members, 1)
    homes: Counter[str] = Counter(member for members in families.values() for member in members)
    for spec in attacks:
        if not homes[spec.name]:
            raise _wrong(
                "families", "such that each attack belongs to one", f"none for {spec.label}"
            )
    if twice := [name for name, count in homes.items() if count > 1]:
        raise _wrong("families", "apart from each other", f"{twice[0]} in more than one")


def _specs(field: str, labels: Sequence[str], *, least: int = 1) -> tuple[AttackSpec, ...]:
    specs = []
    for label in labels:
        try:
            specs.append(AttackSpec.parse(label))
        except InvalidInputError as error:
            raise InvalidInputError(f"{field}: {error}", field=field) from error
        if specs[-1].through:
            raise _wrong(field, "named without the network that it goes through", label)
    _check_count(field, [spec.label for spec in specs], least)
    return tuple(specs)


def _check_count(field: str, values: Sequence[object], least: int) -> None:
    if len(values) < least:
        raise _wrong(field, f"at least {least} in number", "none")
    if twice := [value for value, count in Counter(values).items() if count > 1]:
        raise _wrong(field, "different from each other", f"{twice[0]} more than once")


def _wrong(field: str, should: str, found: str) -> InvalidInputError:
    return InvalidInputError(f"{field} should be {should}. Found {found}.", field=field)
