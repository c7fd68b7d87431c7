"""When the images of a call waited for which batch, for its trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from detector.pipeline import Findings
from service.batcher import Row
from service.security.call_record import Stage

__all__ = ["batch_stages"]


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
