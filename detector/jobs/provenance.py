"""Where a result came from, so that it can be made again."""

from __future__ import annotations

import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["provenance"]

_PACKAGES = (
    "offpath",
    "torch",
    "torchvision",
    "torchattacks",
    "accelerate",
    "scikit-learn",
    "numpy",
    "pyarrow",
)


def provenance(**facts: Any) -> dict[str, Any]:
    """Command, time and versions, with further facts of the job.

    Absolute paths in the command are cut to their last part.

    Args:
        facts: JSON values such as seed, data set and preset.
    """
    return {
        **facts,
        "command": shlex.join(["offpath", *map(_public, sys.argv[1:])]),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _public(argument: str) -> str:
    """An argument without the folders of this machine: what is shipped must not name them."""
    option, equals, value = argument.rpartition("=")
    return option + equals + (Path(value).name if Path(value).is_absolute() else value)


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
