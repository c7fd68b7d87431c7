"""Decoupled networks: gates, the wrapper around a backbone, and what they are trained for."""

from detector.decoupling.backbones import Backbone, build_backbone
from detector.decoupling.channel_flow import ChannelRun, ConvolutionFlow, channel_flow
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
from detector.decoupling.macs import LayerMacs, MacCount, ModuleMacs
from detector.decoupling.network import DecoupledNetwork, DecoupledOutput, GateRecord
from detector.decoupling.open_gates import always_open, is_always_open
from detector.decoupling.sites import GateSite, find_gate_sites

__all__ = [
    "Adversaries",
    "Backbone",
    "Binariser",
    "ChannelRun",
    "ControllingModule",
    "ConvolutionFlow",
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
    "LayerMacs",
    "LossTerms",
    "LossWeights",
    "MacCount",
    "ModuleMacs",
    "OutputToGates",
    "Relaxed",
    "SemHash",
    "StraightThrough",
    "always_open",
    "build_backbone",
    "channel_flow",
    "find_gate_sites",
    "is_always_open",
]
