"""The command that makes a token: what the caller gets, and what the server keeps of it."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from detector.errors import InvalidInputError
from service.security.principal import Principal, Right
from service.security.principals import token_digest

__all__ = ["NewToken", "make_token", "token"]

_PREFIX = "offpath_"
"""Lets scanners for secrets that were published by mistake know what they have found."""

_RANDOM_BYTES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class NewToken:
    """A token, and the entry of the file of principals that lets it in."""

    token: str = field(repr=False)
    entry: str


def make_token(name: str, rights: frozenset[Right] = frozenset()) -> NewToken:
    """A token of 256 random bits.

    Args:
        name: The principal's name.
        rights: What it may be told or decide.

    Raises:
        InvalidInputError: If the name cannot be a principal's.
    """
    principal = Principal(name=name, rights=rights)
    token = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    entry = [
        f"[{principal.name}]",
        f"token_sha256 = {json.dumps([token_digest(token).hex()])}",
        f"rights = {json.dumps(sorted(principal.rights))}",
    ]
    return NewToken(token=token, entry="\n".join(entry) + "\n")


def token(
    *,
    name: Annotated[str, typer.Argument(help="Name of the principal.", metavar="NAME")],
    right: Annotated[
        list[Right] | None,
        typer.Option(help="What it may be told or decide; can be given several times."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="Write the token here, readable by you alone. Default: standard error.",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Make a token for a caller.

    The entry for the server's file of principals goes to standard output. It holds the token's
    hash. The token itself is told once and kept nowhere.
    """
    made = make_token(name, frozenset(right or ()))
    if token_file is None:
        typer.echo(made.token, err=True)
    else:
        _write_secret(token_file, made.token)
    typer.echo(made.entry)


def _write_secret(file: Path, text: str) -> None:
    try:
        # Never over a token that somebody may still use, and never readable for others.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidInputError(
            f"{file} should be a new file in a folder that can be written. "
            f"Found: {error.strerror}. Choose another name."
        ) from error
    with os.fdopen(descriptor, "w") as opened:
        opened.write(text + "\n")
