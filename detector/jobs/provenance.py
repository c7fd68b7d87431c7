"""Where a result came from, so that it can be made again."""

from __future__ import annotations

import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = ["provenance"]

_PACKAGES = ("offpath", "torch", "torchvision", "torchattacks", "scikit-learn")


def provenance(**facts: Any) -> dict[str, Any]:
    """Command, time and versions, with further facts of the job.

    Args:
        facts: JSON values such as seed, data set and preset.
    """
    return {
        **facts,
        "command": shlex.join(["offpath", *sys.argv[1:]]),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
