"""The first page: does it answer, how fast, and how much more could it take."""

from __future__ import annotations

from deploy.grafana.dashboard import Dashboard, Row
from deploy.grafana.panels import Lines, Mark, Query, Stat
from deploy.grafana.queries import (
    JUDGED,
    increase,
    mean,
    per_second,
    quantile,
    recorded,
    series,
)

__all__ = ["OVERVIEW"]

_DETECT = 'method="Detect"'
_WAIT = "offpath_request_seconds"
_PERCENTILES = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
_BUSY = per_second("offpath_analysis_seconds_sum", by="instance")
_BURNS_FAST, _BURNS_SLOWLY = 14.4, 1.0
_ERROR_BUDGET = 0.001


def _burn(window: str) -> str:
    return f"{recorded(f'job:offpath_failed_calls:ratio_rate{window}')} / {_ERROR_BUDGET}"


_NOW = Row(
    title="Now",
    panels=(
        Stat(
            title="Servers",
            description="Servers that Prometheus reaches.",
            queries=(Query(expr=f"sum({series('up')})"),),
            marks=(Mark(value=0, colour="red"), Mark(value=1, colour="green")),
        ),
        Stat(
            title="Calls",
            description="Calls answered in a second, well or not; without health and reflection.",
            queries=(Query(expr=per_second("offpath_requests_total")),),
            unit="reqps",
        ),
        Stat(
            title="Images",
            description="Images that got a verdict, in a second.",
            queries=(Query(expr=per_second("offpath_images_total")),),
            unit="cps",
        ),
        Stat(
            title="Flagged",
            description="Share of the judged images that got OFF_PATH. Hold it against the budget "
            "in the dashboard of detection, not against zero.",
            queries=(
                Query(
                    expr=increase("offpath_verdicts_total", 'verdict="off_path"')
                    + " / "
                    + increase("offpath_verdicts_total", JUDGED)
                ),
            ),
            unit="percentunit",
        ),
        Stat(
            title="Detect, p99",
            description="Ninety-nine of a hundred calls of Detect are answered within this time.",
            queries=(Query(expr=quantile(0.99, _WAIT, _DETECT)),),
            unit="s",
        ),
        Stat(
            title="Busy",
            description="Share of its time that the busiest server spends on batches. From .9 on "
            "waits grow quickly.",
            queries=(Query(expr=f"max({_BUSY})"),),
            unit="percentunit",
            marks=(Mark(value=0.7, colour="yellow"), Mark(value=0.9, colour="red")),
        ),
    ),
)

_TRAFFIC = Row(
    title="Traffic and verdicts",
    panels=(
        Lines(
            title="Calls by answer",
            description="Calls in a second, by method and gRPC status code.",
            queries=(
                Query(
                    expr=per_second("offpath_requests_total", by="method, code"),
                    legend="{{method}} {{code}}",
                ),
            ),
            unit="reqps",
            stacked=True,
        ),
        Lines(
            title="Images by verdict",
            description="Images in a second. ABSTAIN: calibration, or rounding, leaves it open.",
            queries=(
                Query(
                    expr=per_second("offpath_verdicts_total", by="verdict"), legend="{{verdict}}"
                ),
            ),
            unit="cps",
            stacked=True,
        ),
        Lines(
            title="Images by level",
            description="Images in a second, by how much compute their verdict may cost.",
            queries=(
                Query(expr=per_second("offpath_images_total", by="level"), legend="{{level}}"),
            ),
            unit="cps",
            stacked=True,
        ),
    ),
)

_LATENCY = Row(
    title="Latency",
    panels=(
        Lines(
            title="Time of Detect",
            description="From a call's arrival to its answer; good and refused calls alike.",
            queries=tuple(
                Query(expr=quantile(share, _WAIT, _DETECT), legend=name)
                for share, name in _PERCENTILES
            ),
            unit="s",
        ),
        Lines(
            title="Where the time goes",
            description="Means: a call's images until they fit the network, an image until its "
            "batch forms, a batch in the network and in what follows.",
            queries=tuple(
                Query(expr=mean(f"offpath_{part}_seconds"), legend=part)
                for part in ("decode", "queue", "network", "scoring")
            ),
            unit="s",
        ),
        Lines(
            title="Batch time by level, p95",
            description="Network and scores of one batch, as the event loop sees it.",
            queries=(
                Query(
                    expr=quantile(0.95, "offpath_analysis_seconds", by="level"), legend="{{level}}"
                ),
            ),
            unit="s",
        ),
    ),
)

_SATURATION = Row(
    title="Saturation",
    panels=(
        Lines(
            title="Queue",
            description="Images admitted and not yet answered, by server.",
            queries=(Query(expr=series("offpath_queue_images"), legend="{{instance}}"),),
        ),
        Lines(
            title="Busy",
            description="Share of its time that a server spends on batches: one thread does all.",
            queries=(Query(expr=_BUSY, legend="{{instance}}"),),
            unit="percentunit",
            marks=(Mark(value=0.9, colour="red"),),
        ),
        Lines(
            title="Images in a batch",
            description="Mean, without padding. More of them make better use of the device.",
            queries=(Query(expr=mean("offpath_batch_images"), legend="images"),),
        ),
        Lines(
            title="Refused calls",
            description="Calls in a second that got an error, by the reason that callers are told.",
            queries=(
                Query(
                    expr=per_second("offpath_rejections_total", by="reason"), legend="{{reason}}"
                ),
            ),
            unit="reqps",
            stacked=True,
        ),
        Lines(
            title="Dropped images",
            description="Images in a second that left the queue unanswered: cancelled by their "
            "caller, past their deadline, or late for their batch.",
            queries=(
                Query(
                    expr=per_second("offpath_dropped_images_total", by="reason"),
                    legend="{{reason}}",
                ),
            ),
            unit="cps",
            stacked=True,
        ),
        Lines(
            title="Memory",
            description="Resident memory of a server's process.",
            queries=(Query(expr=series("process_resident_memory_bytes"), legend="{{instance}}"),),
            unit="bytes",
        ),
    ),
)

_BUDGET = Row(
    title="Error budget",
    panels=(
        Lines(
            title="Burn rate",
            description="How many times faster than allowed calls fail for a reason of ours; at 1 "
            "the budget of one call in a thousand lasts its thirty days exactly.",
            queries=tuple(
                Query(expr=_burn(window), legend=f"{window}") for window in ("5m", "1h", "6h", "3d")
            ),
            width=12,
            marks=(
                Mark(value=_BURNS_SLOWLY, colour="yellow"),
                Mark(value=_BURNS_FAST, colour="red"),
            ),
        ),
        Lines(
            title="Firing alerts",
            description="Alerts of Offpath; what to do about each stands in RUNBOOK.md beside the "
            "rules.",
            queries=(
                Query(
                    expr='count by (alertname) (ALERTS{alertname=~"Offpath.*", '
                    'alertstate="firing"})',
                    legend="{{alertname}}",
                ),
            ),
            width=12,
        ),
    ),
)

OVERVIEW = Dashboard(
    name="overview",
    title="Offpath: overview",
    description="For who is on duty: traffic, verdicts, latency and saturation.",
    rows=(_NOW, _TRAFFIC, _LATENCY, _SATURATION, _BUDGET),
)
