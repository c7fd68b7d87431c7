"""The Open Inference Protocol on a real server, asked through our own stub."""

from __future__ import annotations

import asyncio
import struct
import urllib.request
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from offpath.inference.v2 import open_inference_pb2 as pb
from offpath.inference.v2 import open_inference_pb2_grpc as pb_grpc
from offpath.v1 import detection_pb2, detection_pb2_grpc

from service.server import DetectionServer

SERVICE = "inference.GRPCInferenceService"
VERSION = "d1d1d1d1d1d1"
OUTPUTS = [
    *("logits", "class", "label", "probability", "score", "p_value", "verdict", "in_campaign"),
]
Tensor = pb.ModelInferRequest.InferInputTensor
Output = pb.ModelInferRequest.InferRequestedOutputTensor
Contents = pb.InferTensorContents
Parameter = pb.InferParameter


@pytest.fixture
async def channel(server: DetectionServer) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture
def stub(channel: Any) -> Any:
    return pb_grpc.GRPCInferenceServiceStub(channel)


def asked(tensor: pb.ModelInferRequest.InferInputTensor, **fields: Any) -> pb.ModelInferRequest:
    return pb.ModelInferRequest(model_name="offpath", inputs=[tensor], **fields)


def byte_strings(*strings: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(each)) + each for each in strings)


def files(*sent: bytes, **fields: Any) -> pb.ModelInferRequest:
    tensor = Tensor(name="image", datatype="BYTES", shape=[len(sent)])
    return asked(tensor, raw_input_contents=[byte_strings(*sent)], **fields)


def listed_files(*sent: bytes) -> pb.ModelInferRequest:
    contents = Contents(bytes_contents=sent)
    return asked(Tensor(name="image", datatype="BYTES", shape=[len(sent), 1], contents=contents))


def pixels(*sent: np.ndarray[Any, Any]) -> pb.ModelInferRequest:
    stacked = np.stack(sent)
    tensor = Tensor(name="pixels", datatype="UINT8", shape=stacked.shape)
    return asked(tensor, raw_input_contents=[stacked.tobytes()])


def listed_pixels(*sent: np.ndarray[Any, Any]) -> pb.ModelInferRequest:
    stacked = np.stack(sent)
    contents = Contents(uint_contents=stacked.ravel().tolist())
    return asked(Tensor(name="pixels", datatype="UINT8", shape=stacked.shape, contents=contents))


def outputs_of(reply: pb.ModelInferResponse) -> dict[str, Any]:
    types = {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8", "BOOL": "?"}
    found: dict[str, Any] = {}
    for output, raw in zip(reply.outputs, reply.raw_output_contents, strict=True):
        if output.datatype == "BYTES":
            found[output.name] = strings_of(raw)
            assert list(output.shape) == [len(found[output.name])]
        else:
            values = np.frombuffer(raw, types[output.datatype])
            found[output.name] = values.reshape(tuple(output.shape)).tolist()
    return found


def strings_of(raw: bytes) -> list[str]:
    strings = []
    while raw:
        (length,) = struct.unpack_from("<I", raw)
        strings.append(raw[4 : 4 + length].decode())
        raw = raw[4 + length :]
    return strings


def details_of(error: grpc.aio.AioRpcError, kind: Any) -> Any:
    packed = dict(error.trailing_metadata())["grpc-status-details-bin"]
    message = kind()
    assert any(each.Unpack(message) for each in status_pb2.Status.FromString(packed).details)
    return message


def violations(error: grpc.aio.AioRpcError) -> dict[str, str]:
    found = details_of(error, error_details_pb2.BadRequest).field_violations
    return {each.field: each.description for each in found}


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


@pytest.mark.parametrize("kind", [files, listed_files, pixels, listed_pixels])
async def test_every_way_to_send_images_gets_the_same_answer(
    stub: Any, images: Any, kind: Callable[..., pb.ModelInferRequest]
) -> None:
    make = images.png if kind in {files, listed_files} else images.pixels
    reply = await stub.ModelInfer(kind(make(1, 4), make(0, 199), make(2, 9)))
    assert (reply.model_name, reply.model_version) == ("offpath", VERSION)
    assert [output.name for output in reply.outputs] == OUTPUTS
    found = outputs_of(reply)
    assert found.pop("p_value") == pytest.approx([1 / 5, 1 / 200, 1 / 10])
    assert found == {
        "logits": [[0, 1, 0], [1, 0, 0], [0, 0, 1]],
        "class": [1, 0, 2],
        "label": ["dog", "cat", "ship"],
        "probability": [0.5, 0.5, 0.5],
        "score": [4.0, 199.0, 9.0],
        "verdict": ["ON_PATH", "OFF_PATH", "ON_PATH"],
        "in_campaign": [False, False, False],
    }


async def test_an_answer_says_what_detect_says(stub: Any, channel: Any, images: Any) -> None:
    sent = [images.png(1, 4), images.png(2, 77)]
    found = outputs_of(await stub.ModelInfer(files(*sent)))
    detect = detection_pb2_grpc.DetectionServiceStub(channel).Detect
    request = detection_pb2.DetectRequest(images=[detection_pb2.Image(encoded=e) for e in sent])
    detections = (await detect(request)).detections
    for output, field in (
        ("class", "predicted_class"),
        *((name, name) for name in ("label", "probability", "score", "p_value", "in_campaign")),
    ):
        assert found[output] == [getattr(detection, field) for detection in detections]
    verdicts = [detection_pb2.Verdict.Name(d.verdict) for d in detections]
    assert [f"VERDICT_{verdict}" for verdict in found["verdict"]] == verdicts


async def test_pixels_of_another_size_are_brought_to_the_networks(stub: Any) -> None:
    sent = np.zeros((40, 30, 3), dtype=np.uint8)
    for request in (pixels(sent, sent), listed_pixels(sent, sent)):
        assert len(outputs_of(await stub.ModelInfer(request))["class"]) == 2


async def test_outputs_come_as_they_are_asked_for(stub: Any, images: Any) -> None:
    wanted = [Output(name="verdict"), Output(name="class")]
    reply = await stub.ModelInfer(files(images.png(1), outputs=wanted))
    assert list(outputs_of(reply).items()) == [("verdict", ["ON_PATH"]), ("class", [1])]


async def test_the_callers_id_comes_back_beside_the_logs_own(stub: Any, images: Any) -> None:
    request = files(images.png(), id="number seven", model_version=VERSION)
    call = stub.ModelInfer(request, metadata=(("x-request-id", "call-7"),))
    reply = await call
    assert reply.id == "number seven"
    assert reply.parameters["request_id"].string_param == "call-7"
    assert dict(await call.trailing_metadata())["x-request-id"] == "call-7"


@pytest.mark.parametrize("alpha", [Parameter(double_param=0.02), Parameter(string_param="2e-2")])
async def test_budget_and_level_are_parameters(
    stub: Any, images: Any, pipeline: Any, alpha: pb.InferParameter
) -> None:
    parameters = {"alpha": alpha, "level": Parameter(string_param="thorough")}
    reply = await stub.ModelInfer(files(images.png(0, 30), images.png(2), parameters=parameters))
    found = outputs_of(reply)
    assert found["verdict"] == ["ON_PATH", "ABSTAIN"]
    assert found["score"] == [31.0, 1.0]
    assert reply.parameters["level"].string_param == "thorough"
    assert pipeline.levels_of_batches == ["thorough"]


async def test_what_kserves_client_says_of_http_is_overlooked(stub: Any, images: Any) -> None:
    request = files(images.png(1), parameters={"binary_data_output": Parameter(bool_param=True)})
    request.inputs[0].parameters["binary_data_size"].int64_param = 99
    request.outputs.add(name="class").parameters["binary_data"].bool_param = True
    assert outputs_of(await stub.ModelInfer(request)) == {"class": [1]}


async def test_server_and_model_are_described(stub: Any) -> None:
    assert (await stub.ServerLive(pb.ServerLiveRequest())).live
    assert (await stub.ServerReady(pb.ServerReadyRequest())).ready
    assert (await stub.ServerMetadata(pb.ServerMetadataRequest())).name == "offpath"
    assert (await stub.ModelReady(pb.ModelReadyRequest(name="offpath", version=VERSION))).ready
    model = await stub.ModelMetadata(pb.ModelMetadataRequest(name="offpath"))
    assert list(model.versions) == [VERSION]
    assert [(e.name, e.datatype, list(e.shape)) for e in model.inputs] == [
        ("image", "BYTES", [-1]),
        ("pixels", "UINT8", [-1, -1, -1, 3]),
    ]
    assert [(e.name, e.datatype, list(e.shape)) for e in model.outputs] == [
        ("logits", "FP32", [-1, 3]),
        ("class", "INT64", [-1]),
        ("label", "BYTES", [-1]),
        ("probability", "FP64", [-1]),
        ("score", "FP64", [-1]),
        ("p_value", "FP64", [-1]),
        ("verdict", "BYTES", [-1]),
        ("in_campaign", "BOOL", [-1]),
    ]


async def test_readiness_ends_with_draining_and_life_does_not(
    server: DetectionServer, stub: Any, channel: Any
) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    check = health_pb2.HealthCheckRequest(service=SERVICE)
    assert (await health.Check(check)).status == health_pb2.HealthCheckResponse.SERVING
    await server._health.draining()
    assert (await health.Check(check)).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert not (await stub.ServerReady(pb.ServerReadyRequest())).ready
    assert not (await stub.ModelReady(pb.ModelReadyRequest(name="offpath"))).ready
    assert (await stub.ServerLive(pb.ServerLiveRequest())).live


@pytest.mark.parametrize(
    ("name", "version"), [("resnet", ""), ("", ""), ("offpath", "2"), ("x" * 100_000, "")]
)
async def test_another_model_or_version_is_not_found(stub: Any, name: str, version: str) -> None:
    for call in (
        stub.ModelReady(pb.ModelReadyRequest(name=name, version=version)),
        stub.ModelMetadata(pb.ModelMetadataRequest(name=name, version=version)),
        stub.ModelInfer(pb.ModelInferRequest(model_name=name, model_version=version)),
    ):
        error = await failure(call)
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert details_of(error, error_details_pb2.ErrorInfo).reason == "UNKNOWN_MODEL"
        assert VERSION in str(error.details())


def tensor(
    name: str = "image",
    datatype: str = "BYTES",
    shape: tuple[int, ...] = (1,),
    *,
    raw: tuple[bytes, ...] = (),
    parameters: dict[str, pb.InferParameter] | None = None,
    **contents: Any,
) -> pb.ModelInferRequest:
    sent = Tensor(name=name, datatype=datatype, shape=shape, parameters=parameters)
    if contents:
        sent.contents.CopyFrom(Contents(**contents))
    return asked(sent, raw_input_contents=raw)


def with_parameter(name: str, value: pb.InferParameter) -> pb.ModelInferRequest:
    return files(b"?", parameters={name: value})


def square(*shape: int, raw: bytes = bytes(192)) -> pb.ModelInferRequest:
    return tensor("pixels", "UINT8", shape, raw=(raw,))


FILE = byte_strings(b"what is this")
REFUSED: dict[str, tuple[pb.ModelInferRequest, str, str]] = {
    "no input": (pb.ModelInferRequest(model_name="offpath"), "inputs", "Found 0"),
    "two inputs": (
        pb.ModelInferRequest(model_name="offpath", inputs=[Tensor(), Tensor()]),
        "inputs",
        "exactly one input, image or pixels. Found 2",
    ),
    "unknown input": (tensor("picture", raw=(FILE,)), "inputs[0].name", "Found 'picture'"),
    "long name": (tensor("x" * 10**6, raw=(FILE,)), "inputs[0].name", "xxx..."),
    "wrong datatype": (
        tensor("pixels", "FP32", (1, 8, 8, 3), raw=(bytes(768),)),
        "inputs[0].datatype",
        "UINT8. Found 'FP32'",
    ),
    "files of two axes": (tensor(shape=(1, 2), raw=(FILE,)), "inputs[0].shape", "Found [1, 2]"),
    "no file": (tensor(shape=(0,), raw=(b"",)), "inputs[0].shape", "1 to 64 images. Found 0"),
    "too many files": (tensor(shape=(65,), raw=(FILE,)), "inputs[0].shape", "Found 65"),
    "less than no file": (tensor(shape=(-1,), raw=(FILE,)), "inputs[0].shape", "Found -1"),
    "channels first": (square(1, 3, 8, 8), "inputs[0].shape", "channels last. Found [1, 3, 8, 8]"),
    "one image without its axis": (square(8, 8, 3), "inputs[0].shape", "Found [8, 8, 3]"),
    "no pixel": (square(1, 0, 8, 3, raw=b""), "inputs[0].shape", "Found [1, 0, 8, 3]"),
    "negative sizes": (square(1, -8, -8, 3), "inputs[0].shape", "Found [1, -8, -8, 3]"),
    "a million axes": (square(*[1] * 10**6), "inputs[0].shape", "channels last"),
    "too few pixels": (square(1, 9, 8, 3), "raw_input_contents[0]", "216 elements"),
    "huge shape": (square(1, 2**62, 2**62, 3), "raw_input_contents[0]", "Found 192"),
    "a strip": (
        square(1, 1, 64, 3),
        "raw_input_contents[0][0]",
        "at most 32 times the shorter one",
    ),
    "too few numbers": (
        tensor("pixels", "UINT8", (1, 8, 8, 3), uint_contents=[0] * 191),
        "inputs[0].contents.uint_contents",
        "192 elements, as the shape [1, 8, 8, 3] says. Found 191",
    ),
    "a number that is no byte": (
        tensor("pixels", "UINT8", (1, 8, 8, 3), uint_contents=[0] * 191 + [256]),
        "inputs[0].contents.uint_contents[0]",
        "0 to 255",
    ),
    "numbers of another type": (
        tensor("pixels", "UINT8", (1, 8, 8, 3), int_contents=[0] * 192),
        "inputs[0].contents",
        "uint_contents. Found int_contents",
    ),
    "numbers of two types": (
        tensor(bytes_contents=[b"?"], fp32_contents=[1.0]),
        "inputs[0].contents",
        "bytes_contents. Found fp32_contents, bytes_contents",
    ),
    "contents and raw": (
        tensor(raw=(FILE,), bytes_contents=[b"?"]),
        "inputs[0].contents",
        "Found both",
    ),
    "no contents": (tensor(), "raw_input_contents", "Found 0"),
    "raw for two inputs": (tensor(raw=(FILE, FILE)), "raw_input_contents", "Found 2"),
    "fewer files than the shape": (
        tensor(shape=(2,), bytes_contents=[b"?"]),
        "inputs[0].contents.bytes_contents",
        "2 elements, as the shape [2] says. Found 1",
    ),
    "a length cut short": (
        tensor(shape=(2,), raw=(FILE + b"\x01\x00",)),
        "raw_input_contents[0]",
        "Element 1",
    ),
    "a file cut short": (tensor(raw=(FILE[:-1],)), "raw_input_contents[0]", "12 bytes for it"),
    "a length beyond the end": (tensor(raw=(b"\xff" * 5,)), "raw_input_contents[0]", "4294967295"),
    "bytes left over": (tensor(raw=(FILE + b"\x00",)), "raw_input_contents[0]", "1 more bytes"),
    "a file that is no image": (tensor(raw=(FILE,)), "raw_input_contents[0][0]", "unknown format"),
    "a listed file that is no image": (
        tensor(bytes_contents=[b"?"]),
        "inputs[0].contents.bytes_contents[0]",
        "unknown format",
    ),
    "shared memory": (
        tensor(parameters={"shared_memory_region": Parameter(string_param="r")}),
        "inputs[0].parameters",
        "Found 'shared_memory_region'",
    ),
    "unknown output": (
        files(b"?", outputs=[Output(name="class"), Output(name="heat")]),
        "outputs[1].name",
        "Found 'heat'",
    ),
    "an output twice": (
        files(b"?", outputs=[Output(name="class"), Output(name="class")]),
        "outputs[1].name",
        "each asked for once",
    ),
    "classification": (
        files(
            b"?",
            outputs=[
                Output(name="logits", parameters={"classification": Parameter(int64_param=3)})
            ],
        ),
        "outputs[0].parameters",
        "Found 'classification'",
    ),
    "misspelt parameter": (
        with_parameter("aplha", Parameter(double_param=0.01)),
        "parameters",
        "alpha, level. Found 'aplha'",
    ),
    "whole alpha": (
        with_parameter("alpha", Parameter(int64_param=1)),
        'parameters["alpha"]',
        "Found int64_param",
    ),
    "alpha in words": (
        with_parameter("alpha", Parameter(string_param="small")),
        'parameters["alpha"]',
        "Found 'small'",
    ),
    "no alpha": (with_parameter("alpha", Parameter()), 'parameters["alpha"]', "Found nothing"),
    "alpha out of range": (
        with_parameter("alpha", Parameter(double_param=2.0)),
        'parameters["alpha"]',
        "Found 2",
    ),
    "alpha that is not a number": (
        with_parameter("alpha", Parameter(string_param="nan")),
        'parameters["alpha"]',
        "Found nan",
    ),
    "unknown level": (
        with_parameter("level", Parameter(string_param="exhaustive" * 10**5)),
        'parameters["level"]',
        "fast, standard, thorough",
    ),
    "level as a number": (
        with_parameter("level", Parameter(int64_param=1)),
        'parameters["level"]',
        "Found int64_param",
    ),
    "level that is not calibrated": (
        with_parameter("level", Parameter(string_param="fast")),
        'parameters["level"]',
        "not calibrated",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_request_that_cannot_be_answered_names_its_field(stub: Any, case: str) -> None:
    request, field, words = REFUSED[case]
    error = await failure(stub.ModelInfer(request))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    ((found, description),) = violations(error).items()
    assert found == field
    assert words in description


async def test_all_unusable_images_of_a_tensor_are_named_at_once(stub: Any, images: Any) -> None:
    error = await failure(stub.ModelInfer(files(b"", images.png(), b"?")))
    assert list(violations(error)) == ["raw_input_contents[0][0]", "raw_input_contents[0][2]"]


async def test_bytes_that_are_no_message_are_an_invalid_argument(channel: Any) -> None:
    error = await failure(channel.unary_unary(f"/{SERVICE}/ModelInfer")(b"\xff\xff\xff"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "ModelInfer should get the message" in str(error.details())


async def test_a_failure_of_the_network_tells_nothing_of_it(stub: Any, images: Any) -> None:
    error = await failure(stub.ModelInfer(files(images.png(images.failing_pixel))))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(error.details())


async def test_both_services_share_one_queue(
    start: Callable[..., Any], pipeline: Any, images: Any
) -> None:
    server = await start(max_queue_images=2, max_images_per_request=2)
    pipeline.open.clear()
    async with grpc.aio.insecure_channel(server.address) as channel:
        detect = detection_pb2_grpc.DetectionServiceStub(channel).Detect
        sent = [detection_pb2.Image(encoded=images.png())] * 2
        first = asyncio.ensure_future(detect(detection_pb2.DetectRequest(images=sent)))
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        for _ in range(1000):
            if "offpath_queue_images 2.0" in await metrics_of(server):
                break
        error = await failure(stub.ModelInfer(files(images.png())))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert details_of(error, error_details_pb2.RetryInfo).HasField("retry_delay")
        assert (await stub.ServerReady(pb.ServerReadyRequest())).ready
        pipeline.open.set()
        assert len((await first).detections) == 2


async def test_a_deadline_ends_a_call(stub: Any, pipeline: Any, images: Any) -> None:
    pipeline.open.clear()
    error = await failure(stub.ModelInfer(files(images.png()), timeout=0.2))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    pipeline.open.set()
    assert outputs_of(await stub.ModelInfer(files(images.png())))["class"] == [0]


async def test_metrics_count_these_calls_and_their_images(
    server: DetectionServer, stub: Any, images: Any
) -> None:
    await stub.ModelInfer(files(images.png(), images.png(0, 200)))
    await failure(stub.ModelInfer(files(b"?")))
    await failure(stub.ModelReady(pb.ModelReadyRequest(name="resnet")))
    lines = (await metrics_of(server)).splitlines()
    for line in (
        'offpath_requests_total{code="OK",method="ModelInfer"} 1.0',
        'offpath_requests_total{code="INVALID_ARGUMENT",method="ModelInfer"} 1.0',
        'offpath_requests_total{code="NOT_FOUND",method="ModelReady"} 1.0',
        'offpath_rejections_total{reason="UNKNOWN_MODEL"} 1.0',
        'offpath_verdicts_total{verdict="off_path"} 1.0',
        'offpath_images_total{level="standard"} 2.0',
    ):
        assert line in lines


async def metrics_of(server: DetectionServer) -> str:
    def read() -> str:
        with urllib.request.urlopen(server.metrics_url) as reply:
            return str(reply.read().decode())

    return await asyncio.to_thread(read)
