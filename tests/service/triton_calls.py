"""Asks a server through Triton's own client and through ours, and prints what both are told.

A program of its own: Triton's messages and those of our server bear the same names, and one process
cannot know both. Our client knows none of them, so it stands here beside Triton's.

Run with an address and a folder that has ``a.png`` and ``b.png``; JSON comes out.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tritonclient.grpc import (
    InferenceServerClient,
    InferInput,
    InferRequestedOutput,
    service_pb2,
)
from tritonclient.utils import InferenceServerException

from service.client import Client
from service.results import Detection, Level

OUTPUTS = (
    *("logits", "class", "label", "probability", "score", "p_value", "verdict", "in_campaign"),
)
MODEL = "offpath"


def main(address: str, folder: Path) -> None:
    paths = [folder / "a.png", folder / "b.png"]
    files = image_tensor([path.read_bytes() for path in paths])
    arrays = [np.asarray(Image.open(path)) for path in paths]
    pixels = pixel_tensor(np.stack(arrays))
    options = {"level": "thorough", "alpha": 0.04}
    with InferenceServerClient(address) as triton, Client(address) as ours:
        version = triton.get_model_metadata(MODEL).versions[0]

        def infer(tensor: InferInput, **more: Any) -> Any:
            return triton.infer(MODEL, [tensor], client_timeout=60, **more)

        report = {
            "live": triton.is_server_live(),
            "ready": triton.is_server_ready(),
            "model_ready": triton.is_model_ready(MODEL, version),
            "server": triton.get_server_metadata(as_json=True),
            "model": triton.get_model_metadata(MODEL, version, as_json=True),
            "digest": ours.bundle().digest,
            "files": values(infer(files)),
            "files, ours": [plain(each) for each in ours.detect(paths).detections],
            "pixels": values(infer(pixels)),
            "pixels, ours": [plain(each) for each in ours.detect(arrays).detections],
            "options": values(infer(files, parameters=options)),
            "options, ours": [
                plain(each)
                for each in ours.detect(paths, level=Level.THOROUGH, alpha=0.04).detections
            ],
            "chosen": chosen(infer(files, request_id="seven", outputs=wanted("verdict", "class"))),
            "failures": {
                "unknown model": failure(lambda: triton.infer("resnet", [files])),
                "unknown version": failure(lambda: triton.is_model_ready(MODEL, "1")),
                "no image": failure(lambda: infer(image_tensor([b"?"]))),
                "channels first": failure(
                    lambda: infer(pixel_tensor(np.stack(arrays).transpose(0, 3, 1, 2)))
                ),
                "unknown output": failure(lambda: infer(files, outputs=wanted("heat"))),
                "unknown call": failure(triton.get_model_repository_index),
            },
        }
    report["contract"] = base64.b64encode(service_pb2.DESCRIPTOR.serialized_pb).decode()
    print(json.dumps(report))  # noqa: T201  # what the program is for


def image_tensor(files: list[bytes]) -> InferInput:
    tensor = InferInput("image", [len(files)], "BYTES")
    return tensor.set_data_from_numpy(np.array(files, dtype=np.object_))


def pixel_tensor(pixels: np.ndarray[Any, Any]) -> InferInput:
    tensor = InferInput("pixels", list(pixels.shape), "UINT8")
    return tensor.set_data_from_numpy(np.ascontiguousarray(pixels))


def wanted(*names: str) -> list[InferRequestedOutput]:
    return [InferRequestedOutput(name) for name in names]


def values(result: Any) -> dict[str, Any]:
    arrays = {name: result.as_numpy(name) for name in OUTPUTS}
    return {
        name: [e.decode() for e in array] if array.dtype == np.object_ else array.tolist()
        for name, array in arrays.items()
    }


def chosen(result: Any) -> dict[str, Any]:
    response = result.get_response()
    return {
        "id": response.id,
        "version": response.model_version,
        "outputs": [output.name for output in response.outputs],
    }


def plain(detection: Detection) -> dict[str, Any]:
    return {
        "class": detection.predicted_class,
        "label": detection.label,
        "probability": detection.probability,
        "score": detection.score,
        "p_value": detection.p_value,
        "verdict": detection.verdict.name,
        "in_campaign": detection.in_campaign,
    }


def failure(call: Callable[[], object]) -> list[str]:
    try:
        call()
    except InferenceServerException as error:
        return [str(error.status()), str(error.message())]
    return ["StatusCode.OK", ""]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
