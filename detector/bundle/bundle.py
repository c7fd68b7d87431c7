"""Saves and loads bundles: everything that serving needs, in one folder without any code."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from detector.bundle.folder import (
    DETECTOR,
    GOLDEN,
    MODEL_CARD,
    NETWORK,
    TENSOR_FILES,
    check_nothing_else,
    check_replaceable,
    replace_folder,
)
from detector.bundle.golden import check_golden, make_golden
from detector.bundle.manifest import BundleManifest, LevelInfo
from detector.conformal import ConformalTable
from detector.devices import usable_device
from detector.errors import (
    BundleError,
    BundleMissingError,
    BundleTamperedError,
    CalibrationError,
    InvalidInputError,
    StorageError,
)
from detector.pipeline import Level, Pipeline
from detector.scoring import (
    Fusion,
    FusionName,
    LearntFusion,
    OneClassFusion,
    PathScores,
    Statistics,
    Suspicion,
    TreeEnsemble,
    one_class_witnesses,
)
from detector.weights import NetworkInfo, build_network, save_weights

__all__ = ["DEFAULT_BUNDLE", "Bundle", "load_bundle", "save_bundle"]

DEFAULT_BUNDLE = Path(__file__).parent.parent / "default_bundle"
"""The bundle that comes with the package."""

_PREDICTED = "predicted"
_PATH_SCORES = "path_scores."
_CALIBRATION = "calibration_scores"
_FUSION = "fusion."


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """A bundle that was loaded.

    Args:
        pipeline: Ready to look at images.
        manifest: What the bundle is.
        golden: What it tests itself by, see `make_golden`.
    """

    pipeline: Pipeline
    manifest: BundleManifest
    golden: Mapping[str, Tensor] | None = None


def save_bundle(
    folder: Path,
    pipeline: Pipeline,
    info: NetworkInfo,
    *,
    provenance: dict[str, Any],
    model_card: str | None = None,
) -> BundleManifest:
    """Write a bundle, whole or not at all.

    Args:
        folder: Where to; a bundle that is there is replaced, all but its model card.
        pipeline: What to save.
        info: What its network is.
        provenance: How it was calibrated, with the time under ``created``.
        model_card: Text of the model card; by default the one that is there is kept.

    Returns:
        The manifest as it was written.

    Raises:
        StorageError: If it cannot be written, or the folder holds something else than a bundle.
    """
    check_replaceable(folder)
    # Not by process: those of two machines that share a folder can have the same number.
    temporary = folder.absolute().with_name(f".{folder.absolute().name}.{uuid4().hex}.part")
    try:
        temporary.mkdir(parents=True)
        manifest = _write(temporary, pipeline, info, provenance)
        if model_card is not None:
            (temporary / MODEL_CARD).write_text(model_card, encoding="utf-8")
        elif (folder / MODEL_CARD).exists():
            shutil.copyfile(folder / MODEL_CARD, temporary / MODEL_CARD)
        for path in temporary.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        replace_folder(temporary, folder.absolute())
    except OSError as error:
        raise StorageError(
            f"{folder} should be writable. Found: {error.strerror or error}. "
            "Free some space or choose another folder; what was there before is kept."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return manifest


def load_bundle(path: Path | None = None, *, device: torch.device | str = "cpu") -> Bundle:
    """Load a bundle, check that it is as it was written, and let it test itself.

    Args:
        path: Folder of the bundle; by default the one that comes with the package.
        device: Where to compute.

    Raises:
        BundleMissingError: If the folder or one of its files is not there.
        BundleTamperedError: If a file is not as it was written, or there is one too many.
        BundleSchemaError: If another version wrote it.
        BundleError: If the self-test fails on this machine.
        InvalidInputError: If the device cannot be used.
    """
    folder = DEFAULT_BUNDLE if path is None else path
    manifest = BundleManifest.read(folder)
    check_nothing_else(folder)
    tensors = {name: _read(folder / name, manifest.files.get(name)) for name in TENSOR_FILES}
    place = usable_device(device)
    with _as_described(folder):
        pipeline = _assemble(manifest, tensors)
    with _as_described(folder) if place.type == "cpu" else _on(place):
        pipeline.expect(check_golden(pipeline.to(place), tensors[GOLDEN]))
    return Bundle(pipeline=pipeline, manifest=manifest, golden=tensors[GOLDEN])


@contextmanager
def _as_described(folder: Path) -> Iterator[None]:
    try:
        yield
    except (
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
        CalibrationError,
        InvalidInputError,
    ) as error:
        raise BundleTamperedError(
            f"{folder} should hold a network and a detector as its manifest describes them. "
            f"Found others: {error}. Calibrate the bundle again."
        ) from error


@contextmanager
def _on(device: torch.device) -> Iterator[None]:
    """A card that fails, most often for want of memory, says nothing against the bundle."""
    try:
        yield
    except RuntimeError as error:
        raise BundleError(
            f"{device} should be able to run the bundle's network. Found: "
            f"{str(error).partition(chr(10))[0]} Free its memory or choose another device."
        ) from error


def _write(
    folder: Path, pipeline: Pipeline, info: NetworkInfo, provenance: dict[str, Any]
) -> BundleManifest:
    save_weights(folder / NETWORK, pipeline.network, info)
    for name, tensors in ((DETECTOR, _detector(pipeline)), (GOLDEN, make_golden(pipeline))):
        kept = {key: tensor.cpu().contiguous() for key, tensor in tensors.items()}
        (folder / name).write_bytes(save(kept))
    manifest = BundleManifest.sealed(
        created=str(provenance.get("created", "")),
        backbone=info.backbone,
        class_names=pipeline.class_names,
        preprocessing=pipeline.preprocessing,
        layout=pipeline.layout,
        levels=tuple(_level_info(level) for level in pipeline.levels.values()),
        alpha=pipeline.alpha,
        promise=pipeline.conformal.promise,
        calibration_counts=pipeline.calibration_counts,
        provenance={"training": info.provenance, "calibration": provenance},
        files={
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in TENSOR_FILES
        },
    )
    manifest.write(folder)
    return manifest


def _detector(pipeline: Pipeline) -> dict[str, Tensor]:
    """Everything that was fitted, but the network. The scores of the path serve all levels."""
    levels = list(pipeline.levels.values())
    shared = levels[0].suspicion.statistics.path_scores
    tensors = _prefixed(_PATH_SCORES, shared.state_dict())
    tensors[_PREDICTED] = pipeline.conformal.predicted
    for level in levels:
        tensors[f"{level.name}.{_CALIBRATION}"] = level.conformal.scores
        tensors |= _prefixed(f"{level.name}.{_FUSION}", level.suspicion.fusion.state_dict())
    return tensors


def _level_info(level: Level) -> LevelInfo:
    learnt = isinstance(level.suspicion.fusion, LearntFusion)
    fusion = FusionName.LEARNT if learnt else FusionName.ONE_CLASS
    return LevelInfo(name=level.name, copies=level.copies, fusion=fusion)


def _prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `_prefixed` was given."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _read(path: Path, digest: str | None) -> dict[str, Tensor]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleMissingError(
            f"{path} should be a file of the bundle. Found none that can be read "
            f"({error.strerror}). Copy the whole bundle again from where it was made."
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise BundleTamperedError(
            f"{path} should have the SHA-256 {digest}, which its manifest gives. Found {found} "
            f"({len(data)} bytes). Copy the bundle again from where it was made."
        )
    try:
        return load(data)
    except SafetensorError as error:
        raise BundleTamperedError(
            f"{path} should be a safetensors file. Found: {error}. Calibrate the bundle again."
        ) from error


def _assemble(manifest: BundleManifest, tensors: dict[str, dict[str, Tensor]]) -> Pipeline:
    classes = len(manifest.class_names)
    info = NetworkInfo(
        backbone=manifest.backbone,
        class_names=manifest.class_names,
        preprocessing=manifest.preprocessing,
    )
    network = build_network(info)
    network.load_state_dict(tensors[NETWORK])
    detector = tensors[DETECTOR]
    scores = PathScores.from_state(manifest.layout, classes, _below(_PATH_SCORES, detector))
    return Pipeline(
        network=network,
        levels=[_level(info, scores, detector, manifest) for info in manifest.levels],
        preprocessing=manifest.preprocessing,
        class_names=manifest.class_names,
        alpha=manifest.alpha,
    )


def _level(
    info: LevelInfo, scores: PathScores, tensors: dict[str, Tensor], manifest: BundleManifest
) -> Level:
    statistics = Statistics(scores, info.copies)
    state = _below(f"{info.name}.{_FUSION}", tensors)
    return Level(
        name=info.name,
        suspicion=Suspicion(statistics, _fusion(info, statistics, state)),
        conformal=ConformalTable(
            tensors[f"{info.name}.{_CALIBRATION}"],
            tensors[_PREDICTED],
            len(manifest.class_names),
            promise=manifest.promise,
        ),
    )


def _fusion(info: LevelInfo, statistics: Statistics, state: dict[str, Tensor]) -> Fusion:
    match info.fusion:
        case FusionName.ONE_CLASS:
            fusion = OneClassFusion(statistics.names, one_class_witnesses(info.copies))
            fusion.load_state_dict(state)
            return fusion
        case FusionName.LEARNT:
            return LearntFusion(len(statistics.names), TreeEnsemble(**_below("trees.", state)))
