"""When the images of a call waited for which batch, for its trace."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import groupby

from detector.pipeline import Findings
from service.batch_running import BatchFailedError, Row
from service.security.call_record import Stage

__all__ = ["batch_stages", "unanswered_stages"]

_FAILED = "BATCH_FAILED"


def batch_stages(rows: Sequence[Row[Findings]], submitted_s: float) -> Iterator[Stage]:
    """A stage ``queue`` and a stage ``analysis`` for each batch that some of the images were in.

    Args:
        rows: The images' rows, in the order in which they were submitted.
        submitted_s: When they were, on the monotonic clock, seconds.
    """
    for _, batch in groupby(rows, key=lambda row: id(row.batch)):
        row, *others = batch
        formed_s = submitted_s + row.queue_s
        count = 1 + len(others)
        spent = row.batch.spent
        yield Stage(name="queue", began_s=submitted_s, ended_s=formed_s, images=count)
        yield Stage(
            name="analysis",
            began_s=formed_s,
            ended_s=formed_s + row.analysis_s,
            images=count,
            parts=(
                {} if spent is None else {"network": spent.network_s, "scoring": spent.scoring_s}
            ),
        )


def unanswered_stages(error: BaseException, submitted_s: float, images: int) -> Iterator[Stage]:
    """What became of the time of images that got no answer, up to now.

    Only a batch that failed tells how long it ran: a stage ``analysis`` of its own, with the error.
    Of everything else nobody has told which batch the images were in, if any, and all of that time
    counts as the queue's.

    Args:
        error: What came in place of the answer.
        submitted_s: When the images were submitted, on the monotonic clock, seconds.
        images: Number of the call's images.
    """
    ended_s = time.monotonic()
    ran_s = error.analysis_s if isinstance(error, BatchFailedError) else None
    formed_s = ended_s - (ran_s or 0.0)
    yield Stage(name="queue", began_s=submitted_s, ended_s=formed_s, images=images)
    if ran_s is not None:
        yield Stage(
            name="analysis", began_s=formed_s, ended_s=ended_s, images=images, error=_FAILED
        )
