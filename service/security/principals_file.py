"""The file of principals: one TOML table for each, named as the principal is.

[web]
token_sha256 = ["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]
rights = ["score"]          # of score, path, explanation, alpha, admin; none unless listed
calls_per_s = 20            # no limit unless given
calls_burst = 40            # a second's worth unless given
images_per_s = 100
images_burst = 200
certificate = "web.example" # subject common name of its certificate, instead of a token
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from detector.errors import InvalidInputError
from service.errors import StartError
from service.security.principal import Principal, Rate, Right
from service.security.principals import KnownPrincipal, Principals
from service.security.reloading import LOOK_EVERY_S, Reloading, ReloadObserver

__all__ = ["load_principals", "parse_principals", "watch_principals"]

_MOST_BYTES = 2**20
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FIELDS = (
    "token_sha256",
    "certificate",
    "rights",
    "calls_per_s",
    "calls_burst",
    "images_per_s",
    "images_burst",
)


def watch_principals(
    file: Path | None, *, observer: ReloadObserver, every_s: float = LOOK_EVERY_S
) -> Reloading[Principals] | None:
    """The principals of a file, read again when it changes; None without a file.

    Args:
        file: The file.
        observer: Who is told when it was read again.
        every_s: It is looked at no more often than this, seconds.

    Raises:
        StartError: If it cannot be read or is at fault.
    """
    if file is None:
        return None
    return Reloading(
        (file,),
        lambda: load_principals(file),
        what="principals",
        observer=observer,
        every_s=every_s,
    )


def load_principals(file: Path) -> Principals:
    """The principals of a file.

    Raises:
        StartError: If it cannot be read or is at fault.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(_MOST_BYTES + 1)
    except OSError as error:
        raise StartError(
            f"principals should be a readable TOML file. Found {file}: {error.strerror}. "
            "Change OFFPATH_PRINCIPALS or the file's permissions."
        ) from error
    if len(content) > _MOST_BYTES:
        raise StartError(
            f"{file} should have at most {_MOST_BYTES} bytes. Found more. Remove principals."
        )
    try:
        return parse_principals(content.decode())
    except (InvalidInputError, UnicodeDecodeError) as error:
        raise StartError(f"{file}: {error}") from error


def parse_principals(text: str) -> Principals:
    """The principals of a file's text.

    Raises:
        InvalidInputError: If it is at fault.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInputError(f"Principals should be TOML. Found: {error}.") from error
    if not tables:
        raise InvalidInputError(
            "There should be at least one principal. Found none. Make one with: offpath token NAME"
        )
    return Principals([_named(name, table) for name, table in tables.items()])


def _named(name: str, table: object) -> KnownPrincipal:
    try:
        return _known(name, table)
    except InvalidInputError as error:
        raise InvalidInputError(f"[{name}] {error}") from error


def _known(name: str, table: object) -> KnownPrincipal:
    if not isinstance(table, Mapping):
        raise InvalidInputError("A principal should be a table. Found a value outside of one.")
    for field in table:
        if field not in _FIELDS:
            raise InvalidInputError(
                f"A principal should have no other fields than {', '.join(_FIELDS)}. "
                f"Found {field}. Remove or correct it."
            )
    return KnownPrincipal(
        principal=Principal(
            name=name,
            rights=_rights(table),
            calls=_rate(table, "calls"),
            images=_rate(table, "images"),
        ),
        token_digests=_digests(table),
        certificate=_certificate(table),
    )


def _rights(table: Mapping[str, object]) -> frozenset[Right]:
    names = _strings(table, "rights")
    for name in names:
        if name not in set(Right):
            raise InvalidInputError(
                f"rights should be among {', '.join(Right)}. Found {name}. Remove or correct it."
            )
    return frozenset(Right(name) for name in names)


def _digests(table: Mapping[str, object]) -> tuple[bytes, ...]:
    values = _strings(table, "token_sha256")
    # What was found is not repeated: it may be the token itself.
    if not all(_DIGEST.fullmatch(value) for value in values):
        raise InvalidInputError(
            "token_sha256 should list SHA-256 digests, 64 hexadecimal digits in lower case. "
            "Found something else. Copy what `offpath token NAME` printed."
        )
    return tuple(bytes.fromhex(value) for value in values)


def _certificate(table: Mapping[str, object]) -> str:
    value = table.get("certificate", "")
    if not isinstance(value, str) or ("certificate" in table and not value):
        raise InvalidInputError(
            "certificate should be a subject's common name, a string. Found something else. "
            'Write certificate = "name" or leave it out.'
        )
    return value


def _rate(table: Mapping[str, object], unit: str) -> Rate | None:
    per_s, burst = _number(table, f"{unit}_per_s"), _number(table, f"{unit}_burst")
    if per_s is None and burst is not None:
        raise InvalidInputError(
            f"{unit}_burst should come with {unit}_per_s. Found it alone. Add the other or "
            "leave it out."
        )
    if per_s is None:
        return None
    return Rate(per_s=per_s, burst=max(1.0, per_s) if burst is None else burst)


def _number(table: Mapping[str, object], field: str) -> float | None:
    value = table.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInputError(f"{field} should be a number. Found {value!r}. Correct it.")
    return float(value)


def _strings(table: Mapping[str, object], field: str) -> tuple[str, ...]:
    values = table.get(field, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise InvalidInputError(
            f'{field} should be a list of strings. Found something else. Write {field} = ["..."].'
        )
    return tuple(values)
