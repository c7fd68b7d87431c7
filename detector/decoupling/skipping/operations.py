"""What the layers of a network do to feature maps of which only open channels exist.

Each maker looks at a node of the traced graph and gives the operation that takes the values of the
node's inputs, in their order; None where it does not know the node. Nothing here changes its input,
but what is `Reusing` where it is told that nobody else reads it.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from typing_extensions import override

from detector.decoupling.skipping.features import Features, dense

__all__ = [
    "Operation",
    "Reusing",
    "is_nothing",
    "is_pad",
    "is_pool",
    "is_relu",
    "operation",
    "works_in_place",
]

Operation = Callable[..., Any]
_Modules = dict[str, nn.Module]
_Maker = Callable[[fx.Node, _Modules], Operation | None]

_RELUS = (torch.relu, functional.relu, "relu", "relu_")
_SUMS = (operator.add, operator.iadd, torch.add, "add", "add_")
_POOLS = (
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
)
_IN_PLACE_OPERATORS = (
    operator.iadd,
    operator.isub,
    operator.imul,
    operator.itruediv,
)


class Reusing(ABC):
    """An operation on feature maps that can do without memory of its own."""

    @abstractmethod
    def __call__(self, *values: Any) -> Any:
        """The outcome, which shares no memory with feature maps among the inputs."""

    @abstractmethod
    def over(self, mine: tuple[bool, ...]) -> Operation:
        """The same operation, which may write over some of its inputs.

        Args:
            mine: Whether each input is read by nobody else, in their order.
        """


def operation(node: fx.Node, modules: _Modules) -> Operation:
    """What a node does; on all channels where it is not known to do with fewer."""
    for make in _MAKERS:
        found = make(node, modules)
        if found is not None:
            return found
    return _on_all_channels(node, modules)


def works_in_place(node: fx.Node, modules: _Modules) -> bool:
    """Whether a node changes its first input, whose name then stands for the outcome."""
    match node.op:
        case "call_module":
            return bool(getattr(modules[str(node.target)], "inplace", False))
        case "call_method":
            return str(node.target).endswith("_") and not str(node.target).endswith("__")
        case "call_function":
            return node.target in _IN_PLACE_OPERATORS or bool(node.kwargs.get("inplace", False))
    return False


def is_relu(node: fx.Node, modules: _Modules) -> bool:
    """Whether a node is a ReLU."""
    return _is_call(node, _RELUS) or _is_module(node, modules, (nn.ReLU,))


def is_pool(node: fx.Node, modules: _Modules) -> bool:
    """Whether a node is a pool: of zeros it is zero, and it knows one channel at a time."""
    return _is_module(node, modules, _POOLS) and not getattr(
        modules[str(node.target)], "return_indices", False
    )


def is_nothing(node: fx.Node, modules: _Modules) -> bool:
    """Whether a node hands on what it reads."""
    idle = _is_module(node, modules, (nn.Identity, nn.Dropout, nn.Dropout2d))
    return idle and not modules[str(node.target)].training


def is_pad(node: fx.Node) -> bool:
    """Whether a node lays out a map anew, with a margin."""
    return _is_call(node, (functional.pad,))


def _relu(node: fx.Node, modules: _Modules) -> Operation | None:
    return _Relu() if is_relu(node, modules) else None


class _Relu(Reusing):
    @override
    def __call__(self, *values: Any) -> Any:
        return _each_channel(torch.relu)(*values)

    @override
    def over(self, mine: tuple[bool, ...]) -> Operation:
        return _each_channel(torch.relu_) if all(mine) else self


def _pool(node: fx.Node, modules: _Modules) -> Operation | None:
    if not is_pool(node, modules):
        return None
    module = modules[str(node.target)]

    def pool(values: Tensor) -> Tensor:
        # Pools of planes are computed number by number, those of pixels many channels at once:
        # the way there and back costs a tenth of what it saves.
        pooled: Tensor = module(values.contiguous(memory_format=torch.channels_last))
        return pooled.contiguous()

    return _each_channel(pool)


def _linear(node: fx.Node, modules: _Modules) -> Operation | None:
    if not _is_module(node, modules, (nn.Linear,)):
        return None
    module = cast("nn.Linear", modules[str(node.target)])
    weight, bias = module.weight, module.bias
    return lambda value: functional.linear(dense(value), weight, bias)


def _sum(node: fx.Node, modules: _Modules) -> Operation | None:
    if not _is_call(node, _SUMS) or len(node.all_input_nodes) != 2 or node.kwargs:
        return None
    return _Sum(_on_all_channels(node, modules))


class _Sum(Reusing):
    def __init__(self, general: Operation, over: tuple[bool, bool] = (False, False)) -> None:
        self._general = general
        self._over = over

    @override
    def __call__(self, *values: Any) -> Any:
        first, second = values
        if not (_is_map(first) and _is_map(second)):
            return self._general(first, second)
        one, other = Features.of(first), Features.of(second)
        if one.channels != other.channels or one.kept.shape[2:] != other.kept.shape[2:]:
            return self._general(first, second)
        return one.plus(other, self._over)

    @override
    def over(self, mine: tuple[bool, ...]) -> Operation:
        first, second = mine
        return _Sum(self._general, (first, second))


def _concatenation(node: fx.Node, modules: _Modules) -> Operation | None:
    if not _is_call(node, (torch.cat,)) or _argument(node, 1, "dim") not in {1, -3}:
        return None
    parts = node.args[0] if node.args else None
    if not isinstance(parts, list | tuple) or len(set(parts)) != len(parts):
        return None
    general = _on_all_channels(node, modules)

    def concatenate(*values: Any) -> Any:
        if not all(map(_is_map, values)):
            return general(*values)
        return Features.concatenated([Features.of(value) for value in values])

    return concatenate


def _means(node: fx.Node, modules: _Modules) -> Operation | None:
    if not _is_call(node, (torch.mean, "mean")) or node.kwargs.keys() - {"dim"}:
        return None
    over = _argument(node, 1, "dim")
    if not isinstance(over, list | tuple) or sorted(over, key=str) not in ([2, 3], [-1, -2]):
        return None
    general = _on_all_channels(node, modules)

    def mean(value: Any) -> Any:
        return value.means().unsqueeze(0) if isinstance(value, Features) else general(value)

    return mean if len(node.args) <= 2 else None


def _on_all_channels(node: fx.Node, modules: _Modules) -> Operation:
    """The node as it stands in the graph."""
    places = {each: place for place, each in enumerate(node.all_input_nodes)}
    bound = _bound(list(node.args), places)
    named = {key: _bound(value, places) for key, value in node.kwargs.items()}
    call = _callee(node, modules)

    def run(*values: Any) -> Any:
        every = [dense(value) for value in values]
        return call(*bound(every), **{key: value(every) for key, value in named.items()})

    return run


def _callee(node: fx.Node, modules: _Modules) -> Operation:
    if node.op == "call_module":
        return modules[str(node.target)]
    if node.op == "call_method":
        name = str(node.target)
        return lambda first, *rest, **named: getattr(first, name)(*rest, **named)
    assert callable(node.target)  # noqa: S101  # torch.fx has no other nodes with inputs
    return node.target


def _bound(argument: Any, places: dict[fx.Node, int]) -> Callable[[list[Any]], Any]:
    """How an argument, nested as it may be, follows from the values of the node's inputs."""
    match argument:
        case fx.Node():
            place = places[argument]
            return lambda values: values[place]
        case list() | tuple():
            parts = [_bound(part, places) for part in argument]
            kind = list if isinstance(argument, list) else tuple
            return lambda values: kind(part(values) for part in parts)
        case dict():
            entries = {key: _bound(value, places) for key, value in argument.items()}
            return lambda values: {key: value(values) for key, value in entries.items()}
        case slice():
            ends = [_bound(end, places) for end in (argument.start, argument.stop, argument.step)]
            return lambda values: slice(*(end(values) for end in ends))
    return lambda _values: argument


def _each_channel(function: Callable[[Tensor], Tensor]) -> Operation:
    def run(value: Any) -> Any:
        if isinstance(value, Features):
            return value.with_kept(function(value.kept))
        return function(value)

    return run


def _is_map(value: Any) -> bool:
    """Whether a value is a feature map of one image."""
    return isinstance(value, Features) or (
        isinstance(value, Tensor) and value.ndim == 4 and len(value) == 1
    )


def _is_call(node: fx.Node, targets: tuple[Any, ...]) -> bool:
    return node.op in {"call_function", "call_method"} and node.target in targets


def _is_module(node: fx.Node, modules: _Modules, kinds: tuple[type[nn.Module], ...]) -> bool:
    # Of exactly these kinds: a subclass may compute anything.
    return node.op == "call_module" and type(modules[str(node.target)]) in kinds


def _argument(node: fx.Node, place: int, name: str) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(name)


_MAKERS: tuple[_Maker, ...] = (
    _relu,
    _pool,
    _linear,
    _sum,
    _concatenation,
    _means,
)
