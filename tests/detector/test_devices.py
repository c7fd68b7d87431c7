"""Devices are checked, and evaluation is exact on all of them."""

from __future__ import annotations

import pytest
import torch

from detector.devices import exact_32_bit, threads, usable_device
from detector.errors import InvalidInputError


def test_a_device_that_is_there_is_given_back() -> None:
    assert usable_device("cpu") == torch.device("cpu")
    assert usable_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("device", ["", "gpu", "cuda:97", "meta", "cuda:-1"])
def test_a_device_that_is_not_there_is_refused_in_one_line(device) -> None:
    with pytest.raises(InvalidInputError, match="Choose another") as caught:
        usable_device(device)
    assert "\n" not in str(caught.value)


def test_convolutions_on_cards_are_exact_meanwhile_and_as_before_after_an_exception() -> None:
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32
    with exact_32_bit(torch.device("cpu")):
        assert cudnn.allow_tf32 == before
    with pytest.raises(KeyError), exact_32_bit(torch.device("cuda")):  # noqa: PT012
        assert not cudnn.allow_tf32
        raise KeyError
    assert cudnn.allow_tf32 == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_card_computes_as_the_processor_does() -> None:
    torch.manual_seed(0)
    convolution, images = torch.nn.Conv2d(64, 64, 3), torch.randn(8, 64, 32, 32)
    with torch.no_grad():
        expected = convolution(images)
        with exact_32_bit(usable_device("cuda")):
            found = convolution.cuda()(images.cuda()).cpu()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_number_of_threads_before_comes_back_even_where_something_fails() -> None:
    before = torch.get_num_threads()

    def fail() -> None:
        assert torch.get_num_threads() == before + 1
        raise ValueError("failed")

    with pytest.raises(ValueError, match="failed"), threads(before + 1):
        fail()
    assert torch.get_num_threads() == before
