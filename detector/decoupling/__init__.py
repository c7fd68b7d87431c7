"""Decoupled networks: gates, the wrapper around a backbone, and what they are trained for."""

from detector.decoupling.backbones import Backbone, build_backbone
from detector.decoupling.gates import (
    Binariser,
    ControllingModule,
    ForcedGates,
    Frozen,
    GateNoise,
    Relaxed,
    SemHash,
    StraightThrough,
)
from detector.decoupling.hardening import (
    Adversaries,
    CopyConsistency,
    GateMargin,
    Hardening,
    HardeningTerm,
)
from detector.decoupling.losses import (
    DecouplingLoss,
    Distillation,
    GatesToOutput,
    LossTerms,
    LossWeights,
    OutputToGates,
)
from detector.decoupling.network import DecoupledNetwork, DecoupledOutput, GateRecord
from detector.decoupling.open_gates import always_open, is_always_open
from detector.decoupling.sites import GateSite, find_gate_sites

__all__ = [
    "Adversaries",
    "Backbone",
    "Binariser",
    "ControllingModule",
    "CopyConsistency",
    "DecoupledNetwork",
    "DecoupledOutput",
    "DecouplingLoss",
    "Distillation",
    "ForcedGates",
    "Frozen",
    "GateMargin",
    "GateNoise",
    "GateRecord",
    "GateSite",
    "GatesToOutput",
    "Hardening",
    "HardeningTerm",
    "LossTerms",
    "LossWeights",
    "OutputToGates",
    "Relaxed",
    "SemHash",
    "StraightThrough",
    "always_open",
    "build_backbone",
    "find_gate_sites",
    "is_always_open",
]
