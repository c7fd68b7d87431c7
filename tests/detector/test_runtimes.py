"""Other runtimes are compared with the network as it is served, to the last bit."""

from __future__ import annotations

import pytest
import torch

from tests.figures import runtimes
from tests.figures.runtimes import Agreement, Outputs

ZERO_TO_TEN = torch.arange(10.0).view(2, 5)


def outputs(gates: torch.Tensor) -> Outputs:
    return ZERO_TO_TEN, gates, ZERO_TO_TEN


def test_the_same_numbers_are_equal_to_the_last_bit() -> None:
    agreement = Agreement.of(outputs(ZERO_TO_TEN), outputs(ZERO_TO_TEN.clone()))
    assert agreement.text == "equal to the last bit"


def test_a_gate_that_turns_and_a_last_bit_are_told_apart() -> None:
    gates = torch.tensor([[-1.0, 1.0, 2.0, 3.0]])
    found = torch.tensor([[0.5, 1.0, 2.0, 3.0]])
    found[0, 1] += torch.finfo(torch.float32).eps
    agreement = Agreement.of(outputs(gates), outputs(found))
    assert agreement == Agreement(gates=4, turned=1, unequal=2, numbers=24, largest=1.5)
    assert agreement.text == "1 of 4 gates turned, 8% of numbers unequal, by up to 2"


def test_a_runtime_that_is_not_here_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert runtimes._without_compiler() == "there is no C++ compiler here, no-such-compiler"
    monkeypatch.setattr(runtimes.importlib.util, "find_spec", lambda name: None)
    assert runtimes._without_onnx() == "onnxruntime and onnxscript not installed here"
