"""A decoupled network: a backbone whose filters open and close per image."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from detector.decoupling.gates import Binariser, ControllingModule, Frozen, GateNoise, SemHash
from detector.decoupling.sites import GateSite, find_gate_sites
from detector.paths import PathLayout, PathVectors
from detector.row_blocks import BLOCK, in_blocks

__all__ = ["DecoupledNetwork", "DecoupledOutput", "GateRecord"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GateRecord:
    """What one gated layer did in one forward pass, with its gradients.

    Args:
        logits: Gate logits, shape (B, C).
        values: What the channels were multiplied by, shape (B, C).
        pooled: Mean over height and width of the output *before* gating, shape (B, C).
    """

    logits: Tensor
    values: Tensor
    pooled: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoupledOutput:
    """What one forward pass returns.

    Args:
        class_logits: Unnormalised class scores, shape (B, K).
        records: What each gated layer did, in the order of the layout.
        layout: Which gates belong to which layer.
    """

    class_logits: Tensor
    records: tuple[GateRecord, ...]
    layout: PathLayout

    @property
    def path(self) -> PathVectors:
        """The path of each image: bits, gate logits and pooled activations."""
        logits = torch.cat([record.logits for record in self.records], dim=1)
        return PathVectors(
            layout=self.layout,
            bits=logits > 0,
            logits=logits,
            activations=torch.cat(
                [record.values * record.pooled for record in self.records], dim=1
            ),
        )


class _Tape:
    """What the hooks of one network share: the way to binarise, and the records so far.

    A network that is not inside its own `DecoupledNetwork.forward` has no binariser here, and
    its hooks then leave every tensor as it is.
    """

    def __init__(self, layers: int) -> None:
        self.layers = layers
        self.binariser: Binariser | None = None
        self.values: list[Tensor | None] = []
        self.logits: list[Tensor | None] = []
        self.records: list[GateRecord | None] = []

    def start(self, binariser: Binariser) -> None:
        self.binariser = binariser
        self.values = [None] * self.layers
        self.logits = [None] * self.layers
        self.records = [None] * self.layers

    def clear(self) -> None:
        self.binariser = None
        self.values = []
        self.logits = []
        self.records = []


class DecoupledNetwork(nn.Module):
    """Wraps a backbone so that small controlling modules gate its filters per image.

    The backbone is used as it is: hooks on its convolutions and batch norms do the gating. They
    act only inside this network's forward pass and are removed with it, so that the backbone
    computes what it always did before, after and beside.

    Args:
        backbone: A classifier (B, 3, H, W) -> (B, K) that torch.fx can trace.
        input_independent_start: See `ControllingModule`.

    Raises:
        BackboneError: If the backbone cannot be traced or has too few convolutions.

    Reference:
        Li et al., "Interpretable Neural Network Decoupling", ECCV 2020.
    """

    def __init__(self, backbone: nn.Module, *, input_independent_start: bool = False) -> None:
        super().__init__()
        self.sites = find_gate_sites(backbone)
        self.backbone = backbone
        modules = dict(backbone.named_modules())
        convolutions = [cast("nn.Conv2d", modules[site.convolution]) for site in self.sites]
        self.layout = PathLayout(
            names=tuple(site.convolution for site in self.sites),
            sizes=tuple(convolution.out_channels for convolution in convolutions),
        )
        self.controllers = nn.ModuleList(
            ControllingModule(
                convolution.in_channels,
                convolution.out_channels,
                input_independent_start=input_independent_start,
            )
            for convolution in convolutions
        )
        self._attach()

    def _attach(self) -> None:
        self._evaluation: Binariser = Frozen()
        self._tape = _Tape(len(self.sites))
        modules = dict(self.backbone.named_modules())
        self._hooks = _add_hooks(modules, self.sites, self.controllers, self.layout, self._tape)
        self._remove_hooks = weakref.finalize(self, _remove_hooks, self._hooks)

    def forward(self, images: Tensor, noise: GateNoise | None = None) -> DecoupledOutput:
        """Class logits and the path.

        Args:
            images: Preprocessed images, shape (B, 3, H, W).
            noise: The gates' noise of this training step; drawn here when training without it,
                unused in evaluation.
        """
        self._tape.start(self._binariser(images, noise))
        try:
            class_logits = self.backbone(images)
            records = tuple(cast("GateRecord", record) for record in self._tape.records)
        finally:
            self._tape.clear()
        return DecoupledOutput(class_logits=class_logits, records=records, layout=self.layout)

    @contextmanager
    def gradients(self, through: Binariser) -> Iterator[None]:
        """Let gradients pass the gates of evaluation in another way, for attackers.

        Args:
            through: `StraightThrough`, `Relaxed` or `Frozen`; the latter is the default.
        """
        before, self._evaluation = self._evaluation, through
        try:
            yield
        finally:
            self._evaluation = before

    def detach_hooks(self) -> nn.Module:
        """Remove every hook for good and return the backbone as it came.

        This network cannot be used any more then.
        """
        self._remove_hooks()
        return self.backbone

    def __deepcopy__(self, memo: dict[int, Any]) -> DecoupledNetwork:
        """A network of its own: copied hooks would still gate with this one's modules."""
        twin = DecoupledNetwork.__new__(DecoupledNetwork)
        nn.Module.__init__(twin)
        memo[id(self)] = twin
        twin.sites, twin.layout, twin.training = self.sites, self.layout, self.training
        twin.backbone = copy.deepcopy(self.backbone, memo)
        twin.controllers = copy.deepcopy(self.controllers, memo)
        ours = {handle.id for handle in self._hooks}
        for module in twin.backbone.modules():
            for hooks in (module._forward_hooks, module._forward_pre_hooks):
                for key in ours & hooks.keys():
                    del hooks[key]
        twin._attach()
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process gets the parts and adds hooks of its own: these cannot be pickled."""
        twin = copy.deepcopy(self)
        mode = twin.training
        return _assembled, (twin.sites, twin.layout, twin.detach_hooks(), twin.controllers, mode)

    def _binariser(self, images: Tensor, noise: GateNoise | None) -> Binariser:
        if not self.training:
            return self._evaluation
        if noise is None:
            noise = GateNoise.draw(len(images), self.layout.gates).to(images.device)
        return SemHash(noise)


def _assembled(
    sites: tuple[GateSite, ...],
    layout: PathLayout,
    backbone: nn.Module,
    controllers: nn.ModuleList,
    mode: bool,  # noqa: FBT001  # a module's own `training`
) -> DecoupledNetwork:
    network = DecoupledNetwork.__new__(DecoupledNetwork)
    nn.Module.__init__(network)
    network.sites, network.layout, network.training = sites, layout, mode
    network.backbone, network.controllers = backbone, controllers
    network._attach()
    return network


def _add_hooks(
    modules: dict[str, nn.Module],
    sites: tuple[GateSite, ...],
    controllers: nn.ModuleList,
    layout: PathLayout,
    tape: _Tape,
) -> list[RemovableHandle]:
    handles: list[RemovableHandle] = []
    try:
        for index, (site, controller, gates) in enumerate(
            zip(sites, controllers, layout.slices, strict=True)
        ):
            decide = _deciding_hook(index, controller, gates, tape)
            apply = _applying_hook(index, tape, rectified=site.rectified)
            handles.append(modules[site.convolution].register_forward_pre_hook(decide))
            handles.append(modules[site.output].register_forward_hook(apply))
        handles += (
            module.register_forward_hook(_blockwise_hook(module, tape))
            for module in modules.values()
            if isinstance(module, nn.Linear)
        )
    except BaseException:
        _remove_hooks(handles)
        raise
    return handles


def _remove_hooks(handles: list[RemovableHandle]) -> None:
    for handle in handles:
        handle.remove()


def _blockwise_hook(linear: nn.Linear, tape: _Tape) -> Callable[[nn.Module, Any, Tensor], Any]:
    """Compute a classifier's product again in blocks: a hook cannot keep it from being computed.

    It is small beside the convolutions.
    """

    def compute(rows: Tensor) -> Tensor:
        return nn.functional.linear(rows, linear.weight, linear.bias)

    def again(_module: nn.Module, inputs: Any, _output: Tensor) -> Tensor | None:
        (rows,) = inputs
        if tape.binariser is None or linear.training or rows.ndim != 2 or len(rows) == BLOCK:
            return None
        return in_blocks(compute, rows)

    return again


def _deciding_hook(
    index: int, controller: nn.Module, gates: slice, tape: _Tape
) -> Callable[[nn.Module, Any], None]:
    def decide(_module: nn.Module, inputs: Any) -> None:
        if tape.binariser is not None:
            logits = controller(inputs[0])  # (B, C)
            tape.logits[index] = logits
            tape.values[index] = tape.binariser(logits, gates)

    return decide


def _applying_hook(
    index: int, tape: _Tape, *, rectified: bool
) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    def apply(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        if tape.binariser is None:
            return output
        values = cast("Tensor", tape.values[index])
        output = torch.relu(output) if rectified else output
        tape.records[index] = GateRecord(
            logits=cast("Tensor", tape.logits[index]),
            values=values,
            pooled=output.mean(dim=(2, 3)),
        )
        return output * values[:, :, None, None]

    return apply
