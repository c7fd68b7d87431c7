"""Sound requests to both services, and mutants of them: each comes again from its number."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from offpath.inference.v2 import open_inference_pb2 as oip
from offpath.v1 import detection_pb2 as pb

from service.open_inference_tensors import join_byte_strings
from tests.figures.mutant_files import SOUND_FILES, broken_file
from tests.figures.mutant_messages import broken_message

__all__ = ["DETECT", "INFER", "SOUND", "Request", "mutant"]

DETECT = f"/{pb.DESCRIPTOR.services_by_name['DetectionService'].full_name}/Detect"
INFER = f"/{oip.DESCRIPTOR.services_by_name['GRPCInferenceService'].full_name}/ModelInfer"

_SIDE = 32
_PIXELS = bytes(value % 256 for value in range(_SIDE * _SIDE * 3))


class Request(NamedTuple):
    """A method's path and the bytes that are sent to it."""

    method: str
    data: bytes


def mutant(number: int) -> Request:
    """The request with this number, the same on all machines.

    One half are messages that were broken on the wire, the other hold files that were broken.
    """
    chance = Random(number)
    if number % 2:
        return _around(broken_file(chance), chance)
    request = chance.choice(SOUND)
    donor, data = chance.choice(SOUND).data, request.data
    for _ in range(chance.choice((1, 1, 2, 3))):
        data = broken_message(data, donor, chance)
    return Request(request.method, data)


def _around(file: bytes, chance: Random) -> Request:
    """A sound request for a file."""
    match chance.randrange(4):
        case 0:
            return _detect([file])
        case 1:
            return _detect([SOUND_FILES[0], file], level=pb.LEVEL_FAST, include_layers=True)
        case 2:
            return _infer("image", "BYTES", [1], raw=join_byte_strings([file]))
        case _:
            return _infer(
                "image", "BYTES", [1], listed=oip.InferTensorContents(bytes_contents=[file])
            )


def _detect(files: list[bytes], **fields: object) -> Request:
    message = pb.DetectRequest(images=[pb.Image(encoded=file) for file in files], **fields)
    return Request(DETECT, message.SerializeToString())


def _detect_raw(height: int, width: int) -> Request:
    data = (_PIXELS * 2)[: height * width * 3]
    raw = pb.RawTensor(data=data, height=height, width=width, channels=3)
    message = pb.DetectRequest(images=[pb.Image(raw=raw)], alpha=0.04, priority=pb.PRIORITY_BULK)
    return Request(DETECT, message.SerializeToString())


def _infer(
    name: str,
    datatype: str,
    shape: list[int],
    *,
    raw: bytes | None = None,
    listed: oip.InferTensorContents | None = None,
    parameters: dict[str, oip.InferParameter] | None = None,
    outputs: tuple[str, ...] = (),
) -> Request:
    request = oip.ModelInferRequest
    message = request(
        model_name="offpath",
        id="mutant",
        parameters=parameters,
        inputs=[
            request.InferInputTensor(name=name, datatype=datatype, shape=shape, contents=listed)
        ],
        outputs=[request.InferRequestedOutputTensor(name=output) for output in outputs],
        raw_input_contents=[] if raw is None else [raw],
    )
    return Request(INFER, message.SerializeToString())


SOUND = (
    _detect([SOUND_FILES[0]]),
    _detect(list(SOUND_FILES[8:11]), level=pb.LEVEL_FAST, include_path=True),
    _detect(list(SOUND_FILES[4:6]), alpha=0.05, level=pb.LEVEL_FAST, include_layers=True),
    _detect_raw(_SIDE, _SIDE),
    _detect_raw(40, 30),
    _infer("image", "BYTES", [2], raw=join_byte_strings(SOUND_FILES[7:9])),
    _infer(
        "image", "BYTES", [1, 1], listed=oip.InferTensorContents(bytes_contents=SOUND_FILES[:1])
    ),
    _infer(
        "pixels",
        "UINT8",
        [1, _SIDE, _SIDE, 3],
        raw=_PIXELS,
        parameters={
            "alpha": oip.InferParameter(double_param=0.04),
            "level": oip.InferParameter(string_param="fast"),
        },
        outputs=("verdict", "p_value", "logits"),
    ),
    _infer(
        "pixels",
        "UINT8",
        [1, _SIDE, _SIDE, 3],
        listed=oip.InferTensorContents(uint_contents=_PIXELS),
    ),
)
"""Requests that the server of the bundled default answers."""
