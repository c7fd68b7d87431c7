"""Trained networks on disk: one safetensors file whose header says what it holds."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import nn

from detector.decoupling import Backbone, DecoupledNetwork, always_open, build_backbone
from detector.errors import DataError
from detector.preprocessing import Preprocessing
from detector.storage import atomic_path

__all__ = [
    "NetworkInfo",
    "build_network",
    "load_gated",
    "load_network",
    "load_plain",
    "save_weights",
]

_HEADER = "offpath"
_GATES = "controllers."


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkInfo:
    """What a network is, beside its weights.

    Args:
        backbone: Which backbone.
        class_names: Name of each class.
        preprocessing: How images become the network's input.
        provenance: How it came about: data, preset, seed, command, versions.
    """

    backbone: Backbone
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    provenance: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {
            "backbone": self.backbone.value,
            "class_names": list(self.class_names),
            "preprocessing": self.preprocessing.to_json(),
            "provenance": self.provenance,
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> NetworkInfo:
        """The object that `to_json` described."""
        return cls(
            backbone=Backbone(fields["backbone"]),
            class_names=tuple(fields["class_names"]),
            preprocessing=Preprocessing.from_json(fields["preprocessing"]),
            provenance=fields["provenance"],
        )


def save_weights(path: Path, module: nn.Module, info: NetworkInfo) -> None:
    """Write the weights of a plain or decoupled network, whole or not at all.

    Raises:
        StorageError: If the file cannot be written.
    """
    tensors = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    with atomic_path(path) as temporary:
        # Not save_file: on a full disk it raises an error of its own instead of an OSError.
        temporary.write_bytes(save(tensors, metadata={_HEADER: json.dumps(info.to_json())}))


def build_network(info: NetworkInfo) -> DecoupledNetwork:
    """A decoupled network with fresh weights."""
    return DecoupledNetwork(
        build_backbone(info.backbone, len(info.class_names)),
        input_independent_start=info.backbone.starts_input_independent,
    )


def load_network(path: Path) -> tuple[DecoupledNetwork, NetworkInfo]:
    """A decoupled network in evaluation mode, and what it is.

    Raises:
        DataError: If the file is missing, unreadable or not a decoupled network.
    """
    info = _read_info(path)
    network = build_network(info)
    _fill(network, path)
    return network.eval(), info


def load_plain(path: Path) -> tuple[nn.Module, NetworkInfo]:
    """A plain network in evaluation mode, and what it is.

    Raises:
        DataError: If the file is missing, unreadable or not a plain network.
    """
    info = _read_info(path)
    network = build_backbone(info.backbone, len(info.class_names))
    _fill(network, path)
    return network.eval(), info


def load_gated(path: Path) -> tuple[DecoupledNetwork, NetworkInfo]:
    """A decoupled network, or a plain one with all its gates open, and what it is.

    In evaluation mode, as `load_network` and `load_plain` give them.

    Raises:
        DataError: If the file is missing, unreadable or neither.
    """
    if _holds_gates(path):
        return load_network(path)
    plain, info = load_plain(path)
    return always_open(plain), info


def _holds_gates(path: Path) -> bool:
    """Whether a file holds a decoupled network; so does one that cannot be read, to be refused."""
    try:
        with safe_open(path, framework="pt") as file:
            return any(name.startswith(_GATES) for name in file.keys())  # noqa: SIM118 - no dict
    except (OSError, SafetensorError):
        return True


def _read_info(path: Path) -> NetworkInfo:
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
        return NetworkInfo.from_json(json.loads(header[_HEADER]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} should be a network written by `offpath train`. Found: {error}. "
            "Train one, or give the path of its .safetensors file."
        ) from error


def _fill(module: nn.Module, path: Path) -> None:
    try:
        module.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise DataError(
            f"{path} should hold the weights of a {type(module).__name__}. Found: {error}"
        ) from error
