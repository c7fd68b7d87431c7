"""Says that the time is over before gRPC does, which says it otherwise."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from service.admission import DeadlineError

__all__ = ["answered_in_time"]

_EARLIER_S = 0.01
"""Time for a status to reach its caller: an event loop full of calls, and the way there."""

_MOST = 0.1
"""Of a short deadline no more than so much is given away."""


@contextlib.asynccontextmanager
async def answered_in_time(remaining_s: float | None) -> AsyncIterator[None]:
    """End what runs in the context a moment before its caller stops to wait.

    gRPC cancels a call whose deadline has passed on the server. Its caller, whose clock may be a
    little behind, then hears CANCELLED, and takes for a server that goes away what was a lack of
    time.

    Args:
        remaining_s: How long the caller still waits, seconds; None is for ever.

    Raises:
        DeadlineError: If the time is over.

    Reference:
        grpc/grpc, issue 15745.
    """
    if remaining_s is None:
        yield
        return
    try:
        async with asyncio.timeout(remaining_s - min(_EARLIER_S, _MOST * remaining_s)) as scope:
            yield
    except TimeoutError as error:
        if not scope.expired():
            raise
        raise DeadlineError(
            "The call should have been answered within its deadline. Found the time over with "
            "its images still waiting or being analysed. Allow more time or try later."
        ) from error
