"""Triton's own client, unmodified, against a server in a process of its own."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from offpath.inference.v2 import open_inference_pb2
from PIL import Image

from service.local_server import local_server

pytestmark = pytest.mark.slow
OURS = FileDescriptorProto.FromString(open_inference_pb2.DESCRIPTOR.serialized_pb)


@pytest.fixture(scope="module")
def told(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the program beside this file was told by a server."""
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    program = Path(__file__).with_name("triton_calls.py")
    with local_server("--bundle", str(bundle_folder), "--drain-delay-s", "0") as server:
        done = subprocess.run(
            [sys.executable, str(program), server.address, str(folder)],
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_server_and_model_are_live_ready_and_described(told: dict[str, Any]) -> None:
    assert (told["live"], told["ready"], told["model_ready"]) == (True, True, True)
    assert told["server"]["name"] == "offpath"
    model = told["model"]
    assert (model["name"], model["versions"]) == ("offpath", [told["digest"][:12]])
    assert [each["name"] for each in model["inputs"]] == ["image", "pixels"]
    assert {"name": "logits", "datatype": "FP32", "shape": ["-1", "10"]} in model["outputs"]


@pytest.mark.parametrize("sent", ["files", "pixels", "options"])
def test_tritons_client_is_told_what_our_own_is_told(told: dict[str, Any], sent: str) -> None:
    found = dict(told[sent])
    logits = np.array(found.pop("logits"))
    assert logits.shape == (2, 10)
    assert logits.argmax(axis=1).tolist() == found["class"]
    ours = told[f"{sent}, ours"]
    assert found == {name: [each[name] for each in ours] for name in ours[0]}


def test_files_and_their_pixels_get_the_same_answer(told: dict[str, Any]) -> None:
    assert told["files"] == told["pixels"]
    assert told["files"]["score"] != told["options"]["score"]


def test_outputs_and_id_are_those_that_were_asked_for(told: dict[str, Any]) -> None:
    version = told["digest"][:12]
    expected = {"id": "seven", "version": version, "outputs": ["verdict", "class"]}
    assert told["chosen"] == expected


@pytest.mark.parametrize(
    ("case", "status", "words"),
    [
        ("unknown model", "NOT_FOUND", "Found 'resnet'"),
        ("unknown version", "NOT_FOUND", "version '1'"),
        ("no image", "INVALID_ARGUMENT", "unknown format"),
        ("channels first", "INVALID_ARGUMENT", "channels last. Found [2, 3, 32, 32]"),
        ("unknown output", "INVALID_ARGUMENT", "Found 'heat'"),
        ("unknown call", "UNIMPLEMENTED", ""),
    ],
)
def test_tritons_client_is_told_what_is_wrong(
    told: dict[str, Any], case: str, status: str, words: str
) -> None:
    found, message = told["failures"][case]
    assert found == f"StatusCode.{status}"
    assert words in message


def test_each_message_and_field_has_the_number_and_type_of_tritons(told: dict[str, Any]) -> None:
    theirs = FileDescriptorProto.FromString(base64.b64decode(told["contract"]))
    assert OURS.package == theirs.package
    known = dict(fields_of(theirs.message_type))
    ours = dict(fields_of(OURS.message_type))
    assert ours.items() <= known.items()
    # As well as none missing: a message that we know, we know whole.
    messages = {name.rpartition(".")[0] for name in ours}
    assert {name for name in known if name.rpartition(".")[0] in messages} == set(ours)


def test_each_call_takes_and_gives_the_messages_of_tritons(told: dict[str, Any]) -> None:
    theirs = FileDescriptorProto.FromString(base64.b64decode(told["contract"]))
    ours, known = (
        {
            (service.name, each.name): (each.input_type, each.output_type)
            for service in file.service
            for each in service.method
        }
        for file in (OURS, theirs)
    )
    assert len(ours) == 6
    assert ours.items() <= known.items()


def fields_of(messages: Any, prefix: str = "") -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Each field's full name, and what of it stands on the wire."""
    message: DescriptorProto
    for message in messages:
        name = f"{prefix}{message.name}"
        for field in message.field:
            oneof = (
                message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
            )
            yield (
                f"{name}.{field.name}",
                (field.number, field.type, field.label, field.type_name, oneof),
            )
        yield from fields_of(message.nested_type, f"{name}.")
