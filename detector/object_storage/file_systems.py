"""Connects to object storage by an address, and says soon where it does not answer."""

from __future__ import annotations

import os
import re
from functools import cache
from textwrap import shorten
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pyarrow import ArrowException
from pyarrow import fs as pafs

from detector.errors import DataError, InvalidInputError

__all__ = ["SCHEMES", "opened", "reason"]

SCHEMES = ("s3", "gs", "abfs", "abfss")
"""Where a file that is written appears whole or not at all, and where files are replaced so."""

_CONNECT_S = 2.0
_ATTEMPTS = 3
"""Of each request, with a second or two between them: ten seconds for an endpoint that is away."""
_GOOGLE_RETRIES_S = 4
_S3_OPTIONS = frozenset({"region", "scheme", "endpoint_override"})
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_AMAZON_ERROR = re.compile(
    r"AWS Error (?P<code>\w+) during (?P<what>\w+) operation: (?P<more>.*?)( \(Request ID|$)"
)


@cache
def opened(address: str) -> tuple[Any, str]:
    """A file system of pyarrow, once for each process, and where in it an address is.

    Credentials are found as the storage's own tools find them, and never part of an address:
    addresses are shown in messages.

    Args:
        address: Such as ``s3://bucket/paths?endpoint_override=minio:9000&scheme=http``.

    Raises:
        InvalidInputError: If it is none that pyarrow understands.
        DataError: If the storage does not answer.
    """
    scheme = urlsplit(address).scheme
    if scheme not in SCHEMES:
        raise InvalidInputError(
            f"{_shown(address)} should be a folder, or an address that begins with one of "
            f"{', '.join(f'{each}://' for each in SCHEMES)}. Found {scheme}://. Mount it as a "
            "folder, or give one of these."
        )
    try:
        if scheme == "s3":
            return _amazon(address)
        if scheme == "gs" and "retry_limit_seconds" not in address:
            joint = "&" if "?" in address else "?"
            address = f"{address}{joint}retry_limit_seconds={_GOOGLE_RETRIES_S}"
        system, path = pafs.FileSystem.from_uri(address)
    except (ArrowException, ValueError) as error:
        raise InvalidInputError(
            f"{_shown(address)} should be an address of object storage, such as "
            f"s3://bucket/paths. Found: {reason(error)}. Give another."
        ) from error
    except OSError as error:
        raise DataError(
            f"{_shown(address)} should answer. Found: {reason(error)}. Check address and network, "
            "or name the region (?region=) or another endpoint."
        ) from error
    else:
        return system, path


def reason(error: Exception) -> str:
    """What went wrong, in a few words."""
    text = " ".join(str(error).split())
    if found := _AMAZON_ERROR.search(text):
        code = found["code"].replace("_", " ").lower()
        text = f"{code} ({found['what']}: {shorten(found['more'], 160).rstrip('.')})"
    return shorten(text, 240).rstrip(".")


def _shown(address: str) -> str:
    """An address as it may be shown: credentials can stand in one by mistake."""
    return re.sub("//[^/]*@", "//...@", address)


def _amazon(address: str) -> tuple[Any, str]:
    """S3, by its own options: those of pyarrow's addresses leave out the time limits."""
    parts = urlsplit(address)
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if "@" in parts.netloc or not parts.netloc:
        message = "credentials, which no address should hold" if parts.netloc else "no bucket"
        raise ValueError(message)
    if unknown := sorted(options.keys() - _S3_OPTIONS):
        message = f"an option {unknown[0]}, which is none of {', '.join(sorted(_S3_OPTIONS))}"
        raise ValueError(message)
    if "endpoint_override" not in options:
        options |= _endpoint()
    known = options.keys() & {"endpoint_override", "region"} or any(map(os.environ.get, _REGIONS))
    if not known:
        options["region"] = pafs.resolve_s3_region(parts.netloc)
    system = pafs.S3FileSystem(
        **options,
        connect_timeout=_CONNECT_S,
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        allow_delayed_open=True,  # one request for a small file, instead of three
    )
    return system, f"{parts.netloc}{unquote(parts.path)}"


def _endpoint() -> dict[str, str]:
    """The endpoint that the environment names; pyarrow does not ask."""
    named = next(filter(None, map(os.environ.get, _ENDPOINTS)), None)
    if named is None:
        return {}
    parts = urlsplit(named if "//" in named else f"https://{named}")
    return {"scheme": parts.scheme, "endpoint_override": parts.netloc}
