"""Whoever knows nothing but the address can find out the rest, as grpcurl does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from service.server import DetectionServer

OURS = {
    "offpath.v1.DetectionService": {"Detect", "GetBundle"},
    "inference.GRPCInferenceService": {
        "ServerLive",
        "ServerReady",
        "ModelReady",
        "ServerMetadata",
        "ModelMetadata",
        "ModelInfer",
    },
}


class Explorer:
    """A caller that has the address of a server and no generated code."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._database = ProtoReflectionDescriptorDatabase(channel)
        self._pool = DescriptorPool(self._database)

    def methods(self) -> dict[str, set[str]]:
        return {
            name: {method.name for method in self._pool.FindServiceByName(name).methods}
            for name in self._database.get_services()
        }

    def files(self) -> dict[str, FileDescriptor]:
        """Every file that a service needs, those that files import included."""
        found: dict[str, FileDescriptor] = {}

        def walk(file: FileDescriptor) -> None:
            found[file.name] = file
            for each in file.dependencies:
                walk(each)

        for name in self._database.get_services():
            walk(self._pool.FindServiceByName(name).file)
        return found

    def call(self, service: str, method: str, **fields: Any) -> Any:
        descriptor = self._pool.FindServiceByName(service).FindMethodByName(method)
        call = self._channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=GetMessageClass(descriptor.input_type).SerializeToString,
            response_deserializer=GetMessageClass(descriptor.output_type).FromString,
        )
        return call(GetMessageClass(descriptor.input_type)(**fields), timeout=30)


@pytest.fixture
def explorer(server: DetectionServer) -> Iterator[Explorer]:
    with grpc.insecure_channel(server.address) as channel:
        yield Explorer(channel)


async def test_every_service_and_its_methods_are_found(explorer: Explorer) -> None:
    found = await asyncio.to_thread(explorer.methods)
    assert OURS.items() <= found.items()
    others = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    assert set(found) - set(OURS) == others


async def test_every_file_that_a_service_needs_is_found(explorer: Explorer) -> None:
    files = await asyncio.to_thread(explorer.files)
    packages = {file.package for file in files.values()}
    assert packages == {"offpath.v1", "inference", "grpc.health.v1", "grpc.reflection.v1alpha"}
    own = {"offpath/v1/detection.proto", "offpath/inference/v2/open_inference.proto"}
    assert own <= set(files)


async def test_a_call_is_made_from_what_reflection_tells_alone(explorer: Explorer) -> None:
    reply = await asyncio.to_thread(explorer.call, "offpath.v1.DetectionService", "GetBundle")
    assert reply.digest == "d1" * 32
    assert [each.name for each in reply.classes] == ["cat", "dog", "ship"]
    assert type(reply).DESCRIPTOR.fields_by_name["alpha"].number == 5


async def test_an_inference_call_is_made_from_what_reflection_tells_alone(
    explorer: Explorer, images: Any
) -> None:
    pixels = images.pixels(1, 4)
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [1, *pixels.shape]}
    reply = await asyncio.to_thread(
        explorer.call,
        "inference.GRPCInferenceService",
        "ModelInfer",
        model_name="offpath",
        inputs=[tensor],
        outputs=[{"name": "verdict"}],
        raw_input_contents=[pixels.tobytes()],
    )
    assert list(reply.raw_output_contents) == [b"\x07\x00\x00\x00ON_PATH"]
