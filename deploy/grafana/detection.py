"""Whether verdicts keep their promise, and who is at work against it."""

from __future__ import annotations

from deploy.grafana.dashboard import Dashboard, Row
from deploy.grafana.panels import Bars, Lines, Mark, Query, Stat
from deploy.grafana.queries import (
    JUDGED,
    increase,
    per_second,
    quantile,
    recorded,
    series,
    share_within,
    wilson,
)

__all__ = ["DETECTION"]

_VERDICTS = "offpath_verdicts_total"
_ALARMS = increase(_VERDICTS, 'verdict="off_path"')
_IMAGES = increase(_VERDICTS, JUDGED)
_ALLOWED = increase("offpath_allowed_alarms_total")
_ABSTENTIONS = increase(_VERDICTS, 'verdict="abstain"')
_ANSWERED = increase(_VERDICTS)
_SURE = 13.8
"""Nats from which the alerts fire: ln 10^6."""


def _share_of_tenth(tenth: int) -> Query:
    low, high = tenth / 10, (tenth + 1) / 10
    return Query(
        expr=f"({share_within('offpath_p_value', low, high)}) / 0.1", legend=f"{low:g} to {high:g}"
    )


def _tail(bound: float) -> Query:
    share = share_within("offpath_p_value", 0, bound)
    return Query(expr=f"({share}) / {bound}", legend=f"up to {bound:g}")


_NOW = Row(
    title="Now",
    panels=(
        Stat(
            title="Observed alarms",
            description="Share of the judged images that got OFF_PATH, over the chosen time.",
            queries=(Query(expr=f"{_ALARMS} / {_IMAGES}"),),
            unit="percentunit",
        ),
        Stat(
            title="Budgeted alarms",
            description="Share of them that clean traffic may have: the budgets of the images, "
            "which callers may have lowered, on average.",
            queries=(Query(expr=f"{_ALLOWED} / {_IMAGES}"),),
            unit="percentunit",
        ),
        Stat(
            title="Evidence of too many",
            description="Over a day, in nats: clean traffic within its budgets gives so many "
            "alarms with a chance of at most e to the minus this. Alerts from 13.8 on, one in a "
            "million.",
            queries=(Query(expr=f"max({recorded('job:offpath_alarm_excess:nats1d')})"),),
            marks=(Mark(value=_SURE, colour="red"),),
        ),
        Stat(
            title="Mean p-value",
            description="Near one half on clean traffic.",
            queries=(
                Query(
                    expr=increase("offpath_p_value_sum") + " / " + increase("offpath_p_value_count")
                ),
            ),
        ),
        Stat(
            title="Abstained",
            description="Share of the answered images that got no verdict.",
            queries=(Query(expr=f"{_ABSTENTIONS} / {_ANSWERED}"),),
            unit="percentunit",
        ),
        Stat(
            title="Campaigns",
            description="Principals with a query campaign that goes on.",
            queries=(Query(expr=f"sum({series('offpath_active_campaigns')})"),),
            marks=(Mark(value=1, colour="orange"),),
        ),
    ),
)

_PROMISE = Row(
    title="The promise about false alarms",
    panels=(
        Lines(
            title="Observed against budgeted alarms",
            description="Shares of judged images, over the chosen time before each moment. As long "
            "as the budget is within or above the interval (Wilson, 95 %), nothing speaks against "
            "the promise; one moment in forty lies above it by chance. Below, clean traffic "
            "has less alarms than it may.",
            queries=(
                Query(expr=f"{_ALLOWED} / {_IMAGES}", legend="budgeted"),
                Query(expr=f"{_ALARMS} / {_IMAGES}", legend="observed"),
                Query(expr=wilson(_ALARMS, _IMAGES, -1), legend="interval, lower"),
                Query(expr=wilson(_ALARMS, _IMAGES, 1), legend="interval, upper"),
            ),
            unit="percentunit",
            width=12,
        ),
        Lines(
            title="Evidence of too many alarms",
            description="In nats, as above. Ten minutes rise with an attack that comes in a burst; "
            "only the day rises with traffic that is a little off.",
            queries=tuple(
                Query(expr=recorded(f"job:offpath_alarm_excess:nats{window}"), legend=window)
                for window in ("10m", "1d")
            ),
            width=12,
            marks=(Mark(value=_SURE, colour="red"),),
        ),
    ),
)

_P_VALUES = Row(
    title="P-values and scores",
    panels=(
        Bars(
            title="P-values against even ones",
            description="Share of the shown images in each tenth, as a multiple of what clean "
            "traffic has: every bar reaches the line at 1. A high first bar alone is attacks; all "
            "bars falling from left to right is traffic that has changed.",
            queries=tuple(map(_share_of_tenth, range(10))),
            width=10,
            marks=(Mark(value=1, colour="orange"),),
        ),
        Bars(
            title="Small p-values",
            description="The same for all images up to a bound: at the bound that is the budget, "
            "the share of alarms against it.",
            queries=tuple(_tail(bound) for bound in (0.001, 0.01, 0.05, 0.1)),
            width=5,
            marks=(Mark(value=1, colour="orange"),),
        ),
        Lines(
            title="Score by verdict, median",
            description="Scores can be compared within a level only. The nearer the medians of "
            "on_path and off_path, the more verdicts are close calls.",
            queries=(
                Query(
                    expr=quantile(0.5, "offpath_score", by="level, verdict"),
                    legend="{{level}} {{verdict}}",
                ),
            ),
            width=9,
        ),
    ),
)

_OTHERS = Row(
    title="Abstentions and campaigns",
    panels=(
        Lines(
            title="Abstentions by reason",
            description="Images in a second without a verdict. Too little calibration passes with "
            "more of it; rounding with another device or bundle.",
            queries=(
                Query(
                    expr=per_second("offpath_abstentions_total", by="reason"), legend="{{reason}}"
                ),
            ),
            unit="cps",
            stacked=True,
            width=6,
        ),
        Lines(
            title="Gates open or closed by rounding",
            description="Mean of them in an image.",
            queries=(
                Query(
                    expr=per_second("offpath_unstable_gates_total")
                    + " / "
                    + per_second("offpath_images_total"),
                    legend="gates",
                ),
            ),
            width=6,
        ),
        Lines(
            title="Campaigns that go on",
            description="Principals who send many nearly identical images, as black-box "
            "attacks do.",
            queries=(
                Query(expr=f"sum({series('offpath_active_campaigns')})", legend="going on"),
                Query(expr=increase("offpath_campaigns_total"), legend="begun in the chosen time"),
            ),
            width=6,
        ),
        Lines(
            title="Images of campaigns",
            description="Share of the answered images that belong to one.",
            queries=(
                Query(
                    expr=per_second("offpath_campaign_images_total")
                    + " / "
                    + per_second("offpath_images_total"),
                    legend="share",
                ),
            ),
            unit="percentunit",
            width=6,
        ),
    ),
)

_SLOWLY = Row(
    title="What changes slowly",
    panels=(
        Lines(
            title="Score by level",
            description="Median and ninetieth percentile. A slow climb without alarms is the first "
            "that is seen of drift.",
            queries=tuple(
                # No means: scores below zero leave a histogram without a sum.
                Query(
                    expr=quantile(share, "offpath_score", by="level"),
                    legend=f"{{{{level}}}} {name}",
                )
                for share, name in ((0.5, "p50"), (0.9, "p90"))
            ),
            width=12,
        ),
        Lines(
            title="Evidence of uneven p-values",
            description="Over an hour, in nats: that of the p-values above .1, which attacks "
            "hardly reach, more than half lie below .5, where clean traffic has four of nine. "
            "Alerts from 13.8 on.",
            queries=(Query(expr=recorded("job:offpath_p_value_sag:nats1h"), legend="1h"),),
            width=12,
            marks=(Mark(value=_SURE, colour="red"),),
        ),
    ),
)

DETECTION = Dashboard(
    name="detection",
    title="Offpath: detection",
    description="For who answers for the promise: alarms against their budget, p-values, scores, "
    "abstentions, campaigns.",
    rows=(_NOW, _PROMISE, _P_VALUES, _OTHERS, _SLOWLY),
)
