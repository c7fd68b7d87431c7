"""What a bundle says about itself: ``manifest.json``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.bundle.folder import MANIFEST, NETWORK
from detector.conformal import Guarantee, Promise
from detector.decoupling import Backbone
from detector.errors import BundleMissingError, BundleSchemaError, BundleTamperedError
from detector.paths import PathLayout
from detector.pipeline import LevelName
from detector.preprocessing import Preprocessing
from detector.scoring import FusionName

__all__ = ["SCHEMA_VERSION", "BundleManifest", "LevelInfo"]

SCHEMA_VERSION = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelInfo:
    """How one level comes to its scores.

    Args:
        name: Which level.
        copies: Names of the copies of each image that it looks at.
        fusion: How its statistics become one score.
    """

    name: LevelName
    copies: tuple[str, ...]
    fusion: FusionName

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {
            "name": self.name.value,
            "copies": list(self.copies),
            "fusion": self.fusion.value,
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> LevelInfo:
        """The object that `to_json` described."""
        return cls(
            name=LevelName(fields["name"]),
            copies=tuple(fields["copies"]),
            fusion=FusionName(fields["fusion"]),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleManifest:
    """What a bundle is.

    Args:
        schema_version: Version of the bundle's format.
        digest: SHA-256 over all else in the manifest, which holds the digest of every file that
            is loaded: bundles with the same digest answer alike. It tells damage, not malice:
            who can change the files can change it too, so compare it with one you trust.
        created: When it was calibrated, ISO 8601.
        backbone: Which backbone the network has.
        class_names: Name of each class.
        preprocessing: How images become the network's input.
        layout: Which gates belong to which layer.
        levels: What a verdict may cost; the first is meant where none is named.
        alpha: False-alarm budget in (0, 1), the largest that a caller can ask for.
        promise: What is promised about it.
        calibration_counts: Number of calibration images that were predicted as each class.
        provenance: Data, seeds, commands and versions of training and calibration.
        files: SHA-256 of each file, as hex.
    """

    schema_version: int
    digest: str
    created: str
    backbone: Backbone
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    layout: PathLayout
    levels: tuple[LevelInfo, ...]
    alpha: float
    promise: Promise
    calibration_counts: tuple[int, ...]
    provenance: dict[str, Any]
    files: dict[str, str]

    @property
    def confidence(self) -> float:
        """Share of calibrations that keep the budget under the PAC guarantee."""
        return self.promise.confidence

    @property
    def network_digest(self) -> str:
        """SHA-256 of the network's file: bundles in which it is equal have paths in common."""
        return self.files[NETWORK]

    @property
    def guarantee(self) -> str:
        """``pac`` or ``plain``."""
        return self.promise.guarantee.value

    @classmethod
    def sealed(cls, **fields: Any) -> BundleManifest:
        """A manifest of this schema version, with its digest.

        Args:
            fields: All other fields.
        """
        open_manifest = cls(schema_version=SCHEMA_VERSION, digest="", **fields)
        digest = _digest(open_manifest.to_json())
        return cls(schema_version=SCHEMA_VERSION, digest=digest, **fields)

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {
            "schema_version": self.schema_version,
            "digest": self.digest,
            "created": self.created,
            "backbone": self.backbone.value,
            "class_names": list(self.class_names),
            "preprocessing": _json(self.preprocessing.to_json()),
            "layers": dict(zip(self.layout.names, self.layout.sizes, strict=True)),
            "levels": [level.to_json() for level in self.levels],
            "alpha": self.alpha,
            "guarantee": self.guarantee,
            "confidence": self.confidence,
            "calibration_counts": list(self.calibration_counts),
            "provenance": _json(self.provenance),
            "files": self.files,
        }

    def write(self, folder: Path) -> None:
        """Write ``manifest.json``."""
        (folder / MANIFEST).write_bytes(_text(self.to_json()))

    @classmethod
    def read(cls, folder: Path) -> BundleManifest:
        """Read and check ``manifest.json``.

        Raises:
            BundleMissingError: If there is none.
            BundleSchemaError: If it is of a schema that this version does not read.
            BundleTamperedError: If it is not as it was written.
        """
        path = folder / MANIFEST
        fields, raw = _parse(path)
        version = fields.get("schema_version")
        if isinstance(version, int) and version != SCHEMA_VERSION:
            raise BundleSchemaError(
                f"{path} should have schema version {SCHEMA_VERSION}. Found {version}. "
                f"{'Upgrade offpath' if version > SCHEMA_VERSION else 'Calibrate it again'}."
            )
        # Byte for byte, so that also a change that means nothing is seen.
        if raw != _text(fields) or fields.get("digest") != _digest(fields):
            raise BundleTamperedError(
                f"{path} should be as `offpath calibrate` wrote it. Found it changed. "
                "Copy the bundle again from where it was made."
            )
        try:
            return cls._from_json(fields)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleSchemaError(
                f"{path} should describe a bundle of schema version {SCHEMA_VERSION}. "
                f"Found something else: {error}. Upgrade offpath or calibrate it again."
            ) from error

    @classmethod
    def _from_json(cls, fields: dict[str, Any]) -> BundleManifest:
        layers = fields["layers"]
        return cls(
            schema_version=fields["schema_version"],
            digest=fields["digest"],
            created=fields["created"],
            backbone=Backbone(fields["backbone"]),
            class_names=tuple(fields["class_names"]),
            preprocessing=Preprocessing.from_json(fields["preprocessing"]),
            layout=PathLayout(names=tuple(layers), sizes=tuple(layers.values())),
            levels=tuple(LevelInfo.from_json(level) for level in fields["levels"]),
            alpha=fields["alpha"],
            promise=Promise(
                guarantee=Guarantee(fields["guarantee"]), confidence=fields["confidence"]
            ),
            calibration_counts=tuple(fields["calibration_counts"]),
            provenance=fields["provenance"],
            files=dict(fields["files"]),
        )


def _parse(path: Path) -> tuple[dict[str, Any], bytes]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BundleMissingError(
            f"{path.parent} should be the folder of a bundle. Found no readable {MANIFEST} "
            f"({error.strerror}). Make one with `offpath calibrate`, or give another folder."
        ) from error
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise BundleTamperedError(
            f"{path} should be JSON as `offpath calibrate` wrote it. Found something else. "
            "Copy the bundle again from where it was made."
        )
    return fields, raw


def _digest(fields: dict[str, Any]) -> str:
    sealed = {name: value for name, value in fields.items() if name != "digest"}
    return hashlib.sha256(_text(sealed)).hexdigest()


def _text(fields: dict[str, Any]) -> bytes:
    # Unpaired surrogates, as JSON can spell them, have no UTF-8: escape all that is not ASCII.
    return (json.dumps(fields, indent=2) + "\n").encode("ascii")


def _json(value: dict[str, Any]) -> dict[str, Any]:
    """The same value as JSON gives it back: lists instead of tuples, text as keys."""
    plain: dict[str, Any] = json.loads(json.dumps(value))
    return plain
