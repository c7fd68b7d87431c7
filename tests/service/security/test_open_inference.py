"""The Open Inference Protocol lets in and tells what the DetectionService does."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from offpath.inference.v2 import open_inference_pb2 as pb
from offpath.inference.v2 import open_inference_pb2_grpc as pb_grpc

SECRET_OUTPUTS = ["logits", "probability", "score"]


@pytest.fixture
async def stub(start: Callable[..., Any], principals_file: Path) -> AsyncIterator[Any]:
    server = await start(principals=principals_file)
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield pb_grpc.GRPCInferenceServiceStub(channel)


@pytest.fixture
def request_of(images: Any) -> Callable[..., pb.ModelInferRequest]:
    def make(*outputs: str, **parameters: pb.InferParameter) -> pb.ModelInferRequest:
        tensor = pb.ModelInferRequest.InferInputTensor(name="image", datatype="BYTES", shape=[1])
        file = images.png(0, 30)
        wanted = pb.ModelInferRequest.InferRequestedOutputTensor
        return pb.ModelInferRequest(
            model_name="offpath",
            inputs=[tensor],
            raw_input_contents=[struct.pack("<I", len(file)) + file],
            outputs=[wanted(name=output) for output in outputs],
            parameters=parameters,
        )

    return make


async def code_of(call: Any) -> grpc.StatusCode:
    code: grpc.StatusCode = await call.code()
    return code


async def test_probes_need_no_token_and_everything_else_does(stub: Any, request_of: Any) -> None:
    model = {"name": "offpath"}
    for call in (
        stub.ServerLive(pb.ServerLiveRequest()),
        stub.ServerReady(pb.ServerReadyRequest()),
        stub.ModelReady(pb.ModelReadyRequest(**model)),
    ):
        assert await code_of(call) is grpc.StatusCode.OK
    for call in (
        stub.ServerMetadata(pb.ServerMetadataRequest()),
        stub.ModelMetadata(pb.ModelMetadataRequest(**model)),
        stub.ModelInfer(request_of()),
    ):
        assert await code_of(call) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_plain_caller_gets_what_it_may_know_and_a_coarse_p_value(
    stub: Any, request_of: Any, bearer: Any
) -> None:
    reply = await stub.ModelInfer(request_of(), metadata=bearer("plain-token"))
    outputs = dict(
        zip((each.name for each in reply.outputs), reply.raw_output_contents, strict=True)
    )
    assert list(outputs) == ["class", "label", "p_value", "verdict", "in_campaign"]
    assert struct.unpack("<d", outputs["p_value"]) == (0.05,)
    assert reply.parameters["p_value_is_bucket"].bool_param


async def test_a_caller_with_the_right_gets_everything(
    stub: Any, request_of: Any, bearer: Any
) -> None:
    reply = await stub.ModelInfer(request_of(), metadata=bearer("full-token"))
    assert len(reply.outputs) == 8
    assert "p_value_is_bucket" not in reply.parameters
    (exact,) = struct.unpack("<d", reply.raw_output_contents[5])
    assert exact == pytest.approx(1 / 31)


@pytest.mark.parametrize("output", SECRET_OUTPUTS)
async def test_an_output_without_the_right_is_denied(
    stub: Any, request_of: Any, bearer: Any, pipeline: Any, output: str
) -> None:
    for token, code in (
        ("plain-token", grpc.StatusCode.PERMISSION_DENIED),
        ("full-token", grpc.StatusCode.OK),
    ):
        call = stub.ModelInfer(request_of("class", output), metadata=bearer(token))
        assert await code_of(call) is code
    assert len(pipeline.batches) == 1


async def test_a_budget_of_ones_own_takes_its_right(
    stub: Any, request_of: Any, bearer: Any
) -> None:
    request = request_of(alpha=pb.InferParameter(double_param=0.04))
    for token, code in (
        ("plain-token", grpc.StatusCode.PERMISSION_DENIED),
        ("full-token", grpc.StatusCode.OK),
    ):
        assert await code_of(stub.ModelInfer(request, metadata=bearer(token))) is code
