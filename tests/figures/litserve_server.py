"""The server that people take off the shelf: LitServe, with its own batching, over HTTP."""

from __future__ import annotations

import base64
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import litserve
from torch import Tensor
from typing_extensions import override

from tests.figures.served_models import Answer, served_model

_MAX_BATCH = 32
_WINDOW_S = 0.005


class _Api(litserve.LitAPI):
    """A model of a bundle; images come as base64 in JSON, as LitServe's own examples send them.

    Args:
        bundle: Folder of the bundle.
        answers: ``predictions`` or ``verdicts``.
    """

    def __init__(self, bundle: Path, answers: str) -> None:
        super().__init__(max_batch_size=_MAX_BATCH, batch_timeout=_WINDOW_S)
        self._bundle = bundle
        self._kind = answers

    @override
    def setup(self, device: str) -> None:
        self._model = served_model(self._bundle, self._kind)

    @override
    def decode_request(self, request: dict[str, str]) -> Tensor:
        return self._model.decode(base64.b64decode(request["image"]))

    @override
    def batch(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        return inputs

    @override
    def predict(self, x: Sequence[Tensor]) -> list[Answer]:
        return self._model.answers(x)

    @override
    def unbatch(self, output: list[Answer]) -> list[Answer]:
        return output

    @override
    def encode_response(self, output: Answer) -> dict[str, Any]:
        return output


def main() -> None:
    """Serve a bundle; say the address first.

    Arguments: the bundle's folder, and ``predictions`` or ``verdicts``.
    """
    bundle, answers = sys.argv[1:]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    sys.stdout.write(f"127.0.0.1:{port}\n")
    sys.stdout.flush()
    server = litserve.LitServer(_Api(Path(bundle), answers), accelerator="cpu")
    server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main()
