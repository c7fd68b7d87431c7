"""The errors that Offpath raises on purpose.

    OffpathError
    |-- InvalidInputError      a caller's image, tensor or option is not acceptable
    |   |-- ImageError         encoded bytes that are not a usable image
    |   `-- BudgetError        an alpha that is out of range or that calibration cannot promise
    |-- DataError              a data set, folder or path table that cannot be used
    |-- CheckpointError        a training checkpoint that cannot be continued
    |-- BackboneError          a network that cannot be decoupled
    |-- AttackError            an attack that broke a property it has to keep
    |-- CalibrationError       too few images for the promise that was asked for
    |-- ControlError           a control of the evaluation that did not hold
    |-- GateError              a bundle whose figures fell against the released one
    |-- StorageError           a file that could not be written; nothing finished is lost
    |-- EngineError            machines that cannot be reached, or lose work again and again
    `-- BundleError            a bundle that cannot be loaded
        |-- BundleMissingError
        |-- BundleTamperedError
        `-- BundleSchemaError

Each message says what should be, what was found and what to do about it, so that the
command line and the server can show it as it is.
"""

from __future__ import annotations

__all__ = [
    "AttackError",
    "BackboneError",
    "BudgetError",
    "BundleError",
    "BundleMissingError",
    "BundleSchemaError",
    "BundleTamperedError",
    "CalibrationError",
    "CheckpointError",
    "ControlError",
    "DataError",
    "EngineError",
    "GateError",
    "ImageError",
    "InvalidInputError",
    "OffpathError",
    "StorageError",
]


class OffpathError(Exception):
    """Base of every error that Offpath raises on purpose."""


class InvalidInputError(OffpathError):
    """A caller's input is not acceptable.

    Args:
        message: What should be, what was found, what to do.
        field: Path of the offending field, as ``images[2].encoded``; empty where there is none.
    """

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class ImageError(InvalidInputError):
    """Encoded bytes are not an image that Offpath can use."""


class BudgetError(InvalidInputError):
    """A false-alarm budget is out of range or below what calibration can promise."""


class DataError(OffpathError):
    """A data set, a folder or a path table cannot be used."""


class CheckpointError(OffpathError):
    """A training checkpoint cannot be continued."""


class BackboneError(OffpathError):
    """A network cannot be decoupled."""


class AttackError(OffpathError):
    """An attack broke a property that every attack has to keep."""


class CalibrationError(OffpathError):
    """There are too few calibration images for the promise that was asked for."""


class ControlError(OffpathError):
    """A control of the evaluation did not hold: its figures mean nothing."""


class GateError(OffpathError):
    """A bundle's figures fell against those of the released one."""


class StorageError(OffpathError):
    """A file could not be written; everything finished before it is kept."""


class EngineError(OffpathError):
    """Machines cannot be reached, or lose work again and again; what is finished is kept."""


class BundleError(OffpathError):
    """A bundle cannot be loaded."""


class BundleMissingError(BundleError):
    """A bundle, or one of its files, is not there."""


class BundleTamperedError(BundleError):
    """A file of a bundle is not the one that its manifest describes."""


class BundleSchemaError(BundleError):
    """A bundle was written by a version whose schema this one does not read."""
