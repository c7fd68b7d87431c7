"""A server's answers about image files, in calls that fit and with errors that name the file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from detector.errors import ImageError
from service.client import Client
from service.results import CallError, Detection, InvalidRequestError, Level, MessageTooLargeError

__all__ = ["RemoteDetector"]

_IMAGES_PER_CALL = 32
_BYTES_PER_CALL = 8 * 2**20  # half of what servers and clients take unless told otherwise
_IMAGE_FIELD = re.compile(r"images\[(\d+)\]")


class RemoteDetector:
    """Lets a server look at image files; the counterpart of `LocalDetector`.

    Args:
        client: Who asks the server.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def detect(
        self,
        images: Sequence[Path],
        *,
        alpha: float | None = None,
        level: Level | None = None,
        include_path: bool = False,
        include_layers: bool = False,
        include_explanation: bool = False,
    ) -> tuple[Detection, ...]:
        """Classify images and tell which of them left the path of their class.

        Args:
            images: Image files.
            alpha: False-alarm budget; None for the bundle's.
            level: How much compute each verdict may cost; None for the bundle's default.
            include_path: Whether to return each image's path.
            include_layers: Whether to return the layers that lie farthest from clean paths.
            include_explanation: Whether to return what speaks against the predicted class.

        Raises:
            ImageError: If a file is no usable image.
            CallError: If a call failed.
        """

        def ask(files: Sequence[Path]) -> tuple[Detection, ...]:
            try:
                return self._client.detect(
                    files,
                    alpha=alpha,
                    level=level,
                    include_path=include_path,
                    include_layers=include_layers,
                    include_explanation=include_explanation,
                ).detections
            except InvalidRequestError as error:
                raise _naming(error, files) from error
            except MessageTooLargeError as error:
                # Limits are the server's own; half as much may fit.
                if len(files) == 1:
                    raise MessageTooLargeError(
                        f"{files[0]}: {error}", request_id=error.request_id
                    ) from error
                middle = len(files) // 2
                return ask(files[:middle]) + ask(files[middle:])

        return tuple(found for part in _parts(images) for found in ask(part))


def _parts(images: Sequence[Path]) -> Iterator[Sequence[Path]]:
    """The files in order, in runs that are bounded in number and in bytes."""
    part: list[Path] = []
    size_bytes = 0
    for image in images:
        # A file that is not there gets its error when it is read.
        more_bytes = image.stat().st_size if image.is_file() else 0
        if part and (len(part) == _IMAGES_PER_CALL or size_bytes + more_bytes > _BYTES_PER_CALL):
            yield part
            part, size_bytes = [], 0
        part.append(image)
        size_bytes += more_bytes
    if part:
        yield part


def _naming(error: InvalidRequestError, files: Sequence[Path]) -> CallError | ImageError:
    """The same error about files, where it is about images of the request."""
    named = [
        f"{files[int(found[1])]}: {violation.description}"
        for violation in error.violations
        if (found := _IMAGE_FIELD.match(violation.field))
    ]
    return ImageError(" ".join(named)) if named else error
