"""Makes programs of a decoupled network: traced and folded once, for any plan."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, fx, nn

from detector.decoupling.channel_flow import channel_flow
from detector.decoupling.gates import ControllingModule
from detector.decoupling.network import DecoupledNetwork
from detector.decoupling.skipping.convolution import (
    Convolution,
    FoldedConvolution,
    OpaqueConvolution,
)
from detector.decoupling.skipping.features import Features, dense
from detector.decoupling.skipping.folding import folded
from detector.decoupling.skipping.gated_layer import GatedLayer
from detector.decoupling.skipping.operations import (
    Operation,
    Reusing,
    is_nothing,
    is_pad,
    is_pool,
    is_relu,
    operation,
    works_in_place,
)
from detector.decoupling.skipping.plan import SkippingPlan, Way
from detector.decoupling.skipping.program import Program, Step
from detector.tracing import tracing

__all__ = ["Compiler"]

_Chain = tuple[fx.Node, ...]
_MAXIMA = (nn.MaxPool2d, nn.AdaptiveMaxPool2d)


class Compiler:
    """What all programs of a network share.

    Args:
        network: In evaluation mode; what changes in it later is not seen.

    Raises:
        ValueError: If it trains.
    """

    def __init__(self, network: DecoupledNetwork) -> None:
        if any(module.training for module in network.modules()):
            raise ValueError(
                "Only a network in evaluation mode should skip what is closed. "
                "Found one that trains. Call eval() first."
            )
        self.layout = network.layout
        with tracing():
            self._graph = fx.symbolic_trace(network.backbone).graph
        self._backbone = network.backbone
        self._modules = dict(network.backbone.named_modules())
        self._sites = {site.convolution: site for site in network.sites}
        self._controllers = dict(zip(self._sites, network.controllers, strict=True))
        self._reads_gated = {
            flow.convolution
            for flow in channel_flow(network.backbone, network.sites)
            if flow.reads_gated
        }
        self._convolutions: dict[fx.Node, tuple[_Chain, Convolution]] = {
            node: self._convolution(node)
            for node in self._graph.nodes
            if node.op == "call_module" and isinstance(self._modules[str(node.target)], nn.Conv2d)
        }

    def ways_of(self, layer: str) -> tuple[Way, ...]:
        """The ways of a gated layer that differ; the others would compute what one of these does.

        Args:
            layer: Its name in the layout.
        """
        convolutions = {str(node.target): found for node, (_, found) in self._convolutions.items()}
        if isinstance(convolutions[layer], OpaqueConvolution):
            return (Way.MASKED,)
        if layer not in self._reads_gated:
            return (Way.MASKED, Way.FILTERS_CONVOLVED, Way.FILTERS_MULTIPLIED)
        return tuple(Way)

    def program(self, plan: SkippingPlan) -> Program:
        """The network as a plan has it.

        Args:
            plan: One way for each gated layer, in the order of the layout.

        Raises:
            ValueError: If it is a plan for other layers.
        """
        if plan.names != self.layout.names:
            raise ValueError(
                f"A plan should be for the network's {self.layout.layers} layers in their order. "
                f"Found one for {len(plan.names)} or for others. Make one for this network."
            )
        ways = dict(zip(plan.names, plan.ways, strict=True))
        places: dict[fx.Node, int] = {}
        constants: dict[int, Any] = {}
        steps: list[Step] = []
        for node in self._graph.nodes:
            place = len(places)
            if node.op == "output":
                break
            if node.op == "get_attr" or (node.op == "placeholder" and place):
                constants[place] = self._constant(node)
            if node.op in {"get_attr", "placeholder"}:
                places[node] = place
            elif is_nothing(node, self._modules):
                places[node] = places[node.all_input_nodes[0]]
            elif node not in places:  # else it is part of a convolution
                steps.append(self._step(node, ways, places, place))
                chain, _ = self._convolutions.get(node, ((node,), None))
                places |= dict.fromkeys(chain, place)
                if works_in_place(node, self._modules):
                    places[node.all_input_nodes[0]] = place
        (outcome,) = node.all_input_nodes
        return Program(steps, constants, places[outcome])

    def _step(
        self, node: fx.Node, ways: dict[str, Way], places: dict[fx.Node, int], place: int
    ) -> Step:
        _, convolution = self._convolutions.get(node, ((), None))
        way = ways.get(str(node.target)) if convolution is not None else None
        return Step(
            run=self._operation(node, way),
            reads=tuple(places[each] for each in node.all_input_nodes),
            writes=place,
            is_gated=way is not None,
            is_new=way is not None or isinstance(convolution, FoldedConvolution) or is_pad(node),
        )

    def _operation(self, node: fx.Node, way: Way | None) -> Operation:
        if node not in self._convolutions:
            return operation(node, self._modules)
        chain, convolution = self._convolutions[node]
        if way is None:
            rest = [each for each in chain if self._stays(each)]
            return _Stem(convolution, self._rest(rest)) if rest else _ungated(convolution)
        name = str(node.target)
        return GatedLayer(
            cast("ControllingModule", self._controllers[name]),
            convolution,
            rectified=self._sites[name].rectified,
            way=way,
        )

    def _convolution(self, node: fx.Node) -> tuple[_Chain, Convolution]:
        """A convolution with the nodes that it takes in: a batch norm, and a ReLU before gates."""
        chain = [node]
        follower = _only_user(node)
        norm = None
        if follower is not None and follower.op == "call_module":
            module = self._modules[str(follower.target)]
            if isinstance(module, nn.BatchNorm2d):
                norm, chain = module, [node, follower]
                follower = _only_user(follower)
        site = self._sites.get(str(node.target))
        if site is not None and site.rectified and follower is not None:
            chain.append(follower)
        if site is None:
            chain += self._to_pool(follower)
        module = cast("nn.Conv2d", self._modules[str(node.target)])
        return tuple(chain), folded(module, norm)

    def _to_pool(self, node: fx.Node | None) -> list[fx.Node]:
        """From a node on ReLUs and then a pool, each for the next one alone; else nothing."""
        found: list[fx.Node] = []
        while node is not None and self._stays(node):
            found.append(node)
            if is_pool(node, self._modules):
                return found
            node = _only_user(node)
        return []

    def _rest(self, nodes: Sequence[fx.Node]) -> list[Operation]:
        """ReLUs and the pool behind them. The largest is rectified alike: then, less is left."""
        *relus, pool = (operation(each, self._modules) for each in nodes)
        if not isinstance(self._modules[str(nodes[-1].target)], _MAXIMA):
            return [*relus, pool]
        return [pool, *(relu.over((True,)) for relu in relus if isinstance(relu, Reusing))]

    def _stays(self, node: fx.Node) -> bool:
        return is_relu(node, self._modules) or is_pool(node, self._modules)

    def _constant(self, node: fx.Node) -> Any:
        """A parameter or buffer of the backbone, or the default of an argument."""
        if node.op == "placeholder":
            return node.args[0] if node.args else None
        return operator.attrgetter(str(node.target))(self._backbone)


class _Stem:
    """A convolution up to its pool, pixel by pixel: what it writes is much, what is left little."""

    def __init__(self, convolution: Convolution, rest: Sequence[Operation]) -> None:
        self._convolution = convolution
        self._rest = tuple(rest)

    def __call__(self, value: Features | Tensor) -> Features:
        found = self._convolution.by_pixel(dense(value))
        for operation_ in self._rest:
            found = operation_(found)
        return Features.of(found)


def _ungated(convolution: Convolution) -> Operation:
    return lambda value: Features.of(convolution.every(Features.of(value)))


def _only_user(node: fx.Node) -> fx.Node | None:
    users = list(node.users)
    return users[0] if len(users) == 1 else None
