"""PromQL that the dashboards have in common.

Every function returns an expression over the chosen jobs and instances. ``$__rate_interval`` is
Grafana's shortest time with a rate, ``$__range`` what is shown, ``$window`` the dashboard's own.
"""

from __future__ import annotations

__all__ = [
    "JUDGED",
    "increase",
    "mean",
    "per_second",
    "quantile",
    "recorded",
    "series",
    "share",
    "share_within",
    "wilson",
]

JUDGED = 'verdict=~"on_path|off_path"'
"""Images that the promise is about: those that got a verdict other than abstain."""

_Z = 1.96  # two-sided 95 %


def series(metric: str, matchers: str = "") -> str:
    """The series of a metric, of the chosen jobs and instances.

    Args:
        metric: Its name.
        matchers: More of them, as in ``verdict="off_path"``.
    """
    more = f", {matchers}" if matchers else ""
    return f'{metric}{{job=~"$job", instance=~"$instance"{more}}}'


def recorded(rule: str) -> str:
    """The series of a recording rule over whole jobs, of the chosen ones."""
    return f'{rule}{{job=~"$job"}}'


def per_second(metric: str, matchers: str = "", *, by: str = "") -> str:
    """How much a counter grows in a second, as of late.

    Args:
        metric: Its name.
        matchers: More of them.
        by: Labels that are kept, apart by commas.
    """
    return f"{_sum(by)}(rate({series(metric, matchers)}[$__rate_interval]))"


def increase(metric: str, matchers: str = "", *, over: str = "$window", by: str = "") -> str:
    """How much a counter grew.

    Args:
        metric: Its name.
        matchers: More of them.
        over: A duration.
        by: Labels that are kept, apart by commas.
    """
    return f"{_sum(by)}(increase({series(metric, matchers)}[{over}]))"


def share(part: str, whole: str, *, by: str = "") -> str:
    """How large a part of one counter's growth another's is.

    Args:
        part: Name of the counter of a part.
        whole: Of the whole.
        by: Labels that are kept, apart by commas.
    """
    return f"{increase(part, by=by)} / {increase(whole, by=by)}"


def mean(histogram: str, matchers: str = "", *, by: str = "") -> str:
    """Mean of what a histogram saw of late."""
    seen = (per_second(f"{histogram}_{part}", matchers, by=by) for part in ("sum", "count"))
    return " / ".join(seen)


def quantile(share: float, histogram: str, matchers: str = "", *, by: str = "") -> str:
    """A quantile of what a histogram saw of late.

    Args:
        share: Which, in [0, 1].
        histogram: Its name, without ``_bucket``.
        matchers: More of them.
        by: Labels that are kept, apart by commas.
    """
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {per_second(f'{histogram}_bucket', matchers, by=labels)})"


def share_within(histogram: str, low: float, high: float) -> str:
    """Share of what a histogram saw in the shown time that is above one bound and not the other.

    Args:
        histogram: Its name, without ``_bucket``; it sees nothing at 0 or below.
        low: A bound of its buckets, or 0.
        high: A bound of its buckets.
    """
    seen = [
        increase(f"{histogram}_bucket", f'le="{float(bound)}"', over="$__range")
        for bound in (high, low)
        if bound > 0
    ]
    return f"({' - '.join(seen)}) / {increase(f'{histogram}_count', over='$__range')}"


def wilson(hits: str, trials: str, side: int) -> str:
    """One bound of the Wilson interval at 95 % for a share.

    Args:
        hits: Expression of how often it happened.
        trials: Expression of how often it could have.
        side: -1 for the lower bound, 1 for the upper.

    Reference:
        Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    square = round(_Z**2, 4)
    spread = f"sqrt({hits} * ({trials} - {hits}) / {trials} + {square / 4})"
    sign = "+" if side > 0 else "-"
    return f"({hits} + {square / 2} {sign} {_Z} * {spread}) / ({trials} + {square})"


def _sum(by: str) -> str:
    return f"sum by ({by}) " if by else "sum"
