"""The network itself on a CPU under other runtimes: how fast, and whether it says the same."""

from __future__ import annotations

import importlib.util
import os
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from typing_extensions import override

from detector.decoupling import DecoupledNetwork
from detector.devices import threads
from tests.figures.bench import Bench
from tests.figures.figure import Figure, reported

__all__ = ["Agreement", "runtimes"]

_SIZES = (1, 8, 32)
_IMAGES = 256
_ROUNDS = 5
_SLICE_S = 0.5
_WARM_UPS = 3

Outputs = tuple[Tensor, ...]
"""Class logits (B, K), gate logits (B, G), activations (B, G): all that verdicts are made of."""
Network = Callable[[Tensor], Outputs]


def runtimes(bench: Bench) -> list[Figure]:
    """torch.compile and ONNX Runtime against the bundled default's network as it is served.

    One thread. Batches of one size are taken in turns and timed in processor time, which leaves out
    what else the machine does; the median of the rounds counts.
    """
    with threads(1):
        pipeline = bench.pipeline
        pixels = bench.pixels(bench.splits.test, _IMAGES)
        images = pipeline.preprocessing(pixels).contiguous(memory_format=torch.channels_last)
        served = _Served(pipeline.network).eval()
        expected = [_outputs(served, images, size) for size in _SIZES]
        found = [_alike("eager, as served", expected)]
        for name, missing, make in _OTHERS:
            if reason := missing():
                found.append(_reported(name, f"not measured: {reason}"))
            else:
                found += _compared(name, served, make, images, expected)
        return found


class _Served(nn.Module):
    """The decoupled network with tensors as its outputs, as compilers want them."""

    def __init__(self, network: DecoupledNetwork) -> None:
        super().__init__()
        self.network = network

    @override
    def forward(self, images: Tensor) -> Outputs:
        output = self.network(images)
        return output.class_logits, output.path.logits, output.path.activations


def _compiled(served: nn.Module, _: Tensor) -> Network:
    compiled: Network = torch.compile(served, dynamic=False)  # type: ignore[assignment]
    return compiled


def _onnx(served: nn.Module, batch: Tensor) -> Network:
    """A graph for this one size of batch: a product's blocks hang on it."""
    import onnxruntime  # optional

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with torch.no_grad():
        program = torch.onnx.export(served, (batch,), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (name,) = (each.name for each in session.get_inputs())

    def run(images: Tensor) -> Outputs:
        found = session.run(None, {name: images.contiguous().numpy()})
        return tuple(torch.from_numpy(each) for each in found)

    return run


def _without_compiler() -> str:
    compiler = os.environ.get("CXX", "g++")
    return "" if shutil.which(compiler) else f"there is no C++ compiler here, {compiler}"


def _without_onnx() -> str:
    needed = ("onnxruntime", "onnxscript")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    return f"{' and '.join(missing)} not installed here" if missing else ""


_OTHERS: tuple[tuple[str, Callable[[], str], Callable[[nn.Module, Tensor], Network]], ...] = (
    ("torch.compile", _without_compiler, _compiled),
    ("ONNX Runtime", _without_onnx, _onnx),
)


def _compared(
    name: str,
    served: nn.Module,
    make: Callable[[nn.Module, Tensor], Network],
    images: Tensor,
    expected: list[Outputs],
) -> list[Figure]:
    found, outputs = [], []
    for size, served_outputs in zip(_SIZES, expected, strict=True):
        other = make(served, images[:size])
        outputs.append(_outputs(other, images, size))
        agreement = Agreement.of(served_outputs, outputs[-1])
        speed = _speed(served, other, images, size)
        found.append(_reported(f"{name}, batches of {size}", f"{speed}; {agreement.text}"))
    return [*found, _alike(name, outputs)]


@torch.inference_mode()
def _outputs(network: Network, images: Tensor, size: int) -> Outputs:
    parts = [network(batch) for batch in images.split(size)]
    return tuple(torch.cat(each) for each in zip(*parts, strict=True))


@torch.inference_mode()
def _speed(served: Network, other: Network, images: Tensor, size: int) -> str:
    batches = images.split(size)
    rounds = []
    for number in range(_ROUNDS):
        pair = (served, other) if number % 2 == 0 else (other, served)
        took = {network: _milliseconds(network, batches) for network in pair}
        rounds.append((took[served], took[other]))
    ratios = [before / after for before, after in rounds]
    before, after = (statistics.median(each) for each in zip(*rounds, strict=True))
    return (
        f"{statistics.median(ratios):.2f} times as fast, rounds {min(ratios):.2f} to "
        f"{max(ratios):.2f} ({after:.2f} against {before:.2f} ms)"
    )


def _milliseconds(network: Network, batches: Sequence[Tensor]) -> float:
    """Processor time of a batch."""
    for batch in batches[:_WARM_UPS]:
        network(batch)
    count = 0
    started = now = time.process_time()
    while now - started < _SLICE_S:
        network(batches[count % len(batches)])
        count += 1
        now = time.process_time()
    return 1000 * (now - started) / count


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How far two ways to run a network are from saying the same.

    Args:
        gates: Gates of all images.
        turned: Gates open in one and closed in the other.
        unequal: Numbers that are not equal to the last bit.
        numbers: All numbers.
        largest: The largest difference.
    """

    gates: int
    turned: int
    unequal: int
    numbers: int
    largest: float

    @classmethod
    def of(cls, expected: Outputs, found: Outputs) -> Agreement:
        """The agreement of class logits, gate logits and activations on the same images."""
        pairs = list(zip(expected, found, strict=True))
        gates = expected[1]
        return cls(
            gates=gates.numel(),
            turned=int(((gates > 0) != (found[1] > 0)).sum()),
            unequal=sum(int((one != two).sum()) for one, two in pairs),
            numbers=sum(one.numel() for one in expected),
            largest=max(float((one - two).abs().max()) for one, two in pairs),
        )

    @property
    def text(self) -> str:
        """In words."""
        if not self.unequal:
            return "equal to the last bit"
        return (
            f"{self.turned} of {self.gates} gates turned, {self.unequal / self.numbers:.0%} of "
            f"numbers unequal, by up to {self.largest:.1g}"
        )


def _alike(name: str, outputs: list[Outputs]) -> Figure:
    """Whether an image's numbers hang on the size of its batch, under one runtime."""
    *small, large = outputs
    texts = [
        f"in batches of {size}: {Agreement.of(large, each).text}"
        for size, each in zip(_SIZES, small, strict=False)
    ]
    return _reported(f"{name}, against its own batches of {_SIZES[-1]}", "; ".join(texts))


def _reported(name: str, measured: str) -> Figure:
    return reported(f"ResNet-20 network: {name}", measured)
