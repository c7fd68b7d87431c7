"""Whatever bytes arrive, a request is understood or refused, and nothing else happens."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from offpath.inference.v2 import open_inference_pb2 as pb

from detector.errors import InvalidInputError
from detector.images import ImageLimits
from service.open_inference_codec import decode_infer
from service.open_inference_tensors import join_byte_strings, shortened, split_byte_strings

LIMITS = ImageLimits(max_pixels=1000)
PIXELS = np.arange(2 * 4 * 4 * 3, dtype=np.uint8)


def request(**fields: Any) -> bytes:
    parameters = {
        "alpha": pb.InferParameter(double_param=0.01),
        "level": pb.InferParameter(string_param="fast"),
    }
    outputs = [pb.ModelInferRequest.InferRequestedOutputTensor(name="verdict")]
    raw = fields.pop("raw", [])
    return pb.ModelInferRequest(
        model_name="offpath",
        parameters=parameters,
        inputs=[pb.ModelInferRequest.InferInputTensor(**fields)],
        outputs=outputs,
        raw_input_contents=raw,
    ).SerializeToString()


SOUND = {
    "files": request(
        name="image",
        datatype="BYTES",
        shape=[2],
        raw=[join_byte_strings([b"\x89PNG\r\n\x1a\nno more", b"\xff\xd8\xffnothing"])],
    ),
    "listed files": request(
        name="image",
        datatype="BYTES",
        shape=[1, 1],
        contents=pb.InferTensorContents(bytes_contents=[b"RIFF1234WEBPVP8 "]),
    ),
    "pixels": request(name="pixels", datatype="UINT8", shape=[2, 4, 4, 3], raw=[PIXELS.tobytes()]),
    "listed pixels": request(
        name="pixels",
        datatype="UINT8",
        shape=[2, 4, 4, 3],
        contents=pb.InferTensorContents(uint_contents=PIXELS.tolist()),
    ),
}


@given(strings=st.lists(st.binary(max_size=20), max_size=5))
def test_byte_strings_come_back_as_they_were_joined(strings: list[bytes]) -> None:
    joined = join_byte_strings(strings)
    assert split_byte_strings(joined, len(strings), field="f") == strings


@given(data=st.binary(max_size=40), count=st.integers(0, 5))
def test_any_bytes_are_split_whole_or_refused(data: bytes, count: int) -> None:
    with contextlib.suppress(InvalidInputError):
        strings = split_byte_strings(data, count, field="f")
        assert len(strings) == count
        assert join_byte_strings(strings) == data


def test_a_length_is_never_believed_beyond_the_bytes_that_are_there() -> None:
    with pytest.raises(InvalidInputError, match=r"4294967295 bytes for it\. Found 3"):
        split_byte_strings(struct.pack("<I", 2**32 - 1) + b"abc", 1, field="f")


@pytest.mark.parametrize("kind", SOUND)
def test_a_sound_request_is_understood(kind: str) -> None:
    call = decode_infer(pb.ModelInferRequest.FromString(SOUND[kind]), max_images=8)
    assert (call.alpha, call.level, call.outputs) == (0.01, "fast", ("verdict",))


@pytest.mark.parametrize("kind", SOUND)
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_mutated_request_is_understood_or_refused(kind: str, data: st.DataObject) -> None:
    mutated = bytearray(SOUND[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(mutated)))
        end = data.draw(st.integers(start, min(start + 3, len(mutated))))
        mutated[start:end] = data.draw(st.binary(max_size=3))
    with contextlib.suppress(DecodeError, InvalidInputError):
        call = decode_infer(pb.ModelInferRequest.FromString(bytes(mutated)), max_images=8)
        assert 1 <= len(call.images) <= 8
        for image in call.images:
            with contextlib.suppress(InvalidInputError):
                assert image.pixels(LIMITS).shape[0] == 3


@given(value=st.text(max_size=200))
def test_what_a_caller_sent_is_shown_short(value: str) -> None:
    assert len(shortened(value)) <= 63
