"""The option `--engine` of the offline commands."""

# ruff: noqa: PLC0415  # commands import late: help and errors should not wait for torch

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from detector.jobs.engines import Engine

__all__ = ["EngineName", "EngineOption", "chosen_engine"]


class EngineName(StrEnum):
    """Where the work of a command runs."""

    LOCAL = "local"
    RAY = "ray"


EngineOption = Annotated[
    EngineName,
    typer.Option(
        help="Where the work runs: on this machine, or on the Ray cluster that RAY_ADDRESS names "
        "(the ray extra), whose machines share the folders; the table may lie in object storage. "
        "The outcome is the same."
    ),
]


def chosen_engine(name: EngineName, device: str = "auto") -> tuple[Engine, str]:
    """The engine, and the device of this process.

    Args:
        name: Which engine.
        device: Where networks run, as the command's option says: with Ray, on its machines.

    Raises:
        InvalidInputError: If there is no such device.
        EngineError: If there is no Ray cluster.
    """
    from detector.jobs.engines import LocalEngine, RayEngine
    from service.devices import chosen_device

    if name is EngineName.RAY:
        return RayEngine(device=device), "cpu"
    return LocalEngine(), str(chosen_device(device))
