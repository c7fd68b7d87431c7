"""One choice of device for every command."""

from __future__ import annotations

import pytest
import torch

from detector.errors import InvalidInputError
from service.devices import chosen_device


@pytest.mark.parametrize(("gpu", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_takes_a_gpu_where_there_is_one(
    gpu: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert chosen_device("auto") == torch.device(expected)


def test_a_device_by_name_is_taken_or_refused() -> None:
    assert chosen_device("cpu") == torch.device("cpu")
    with pytest.raises(InvalidInputError, match="device should be"):
        chosen_device("nonsense")
