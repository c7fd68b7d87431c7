"""Which bundle answers, what the next one would say, whether traffic fits it, and what it needs."""

from __future__ import annotations

from deploy.grafana.dashboard import Dashboard, Row
from deploy.grafana.panels import Facts, Lines, Mark, Query, Stat
from deploy.grafana.queries import increase, per_second, quantile, series, share

__all__ = ["MODEL"]

_CREATED = "offpath_bundle_created_timestamp_seconds"
_SHADOWED = increase("offpath_shadow_images_total")
_DAY_S = 86_400
_OLD_S = 180 * _DAY_S
_DRIFT_IS_SURE = 6.9
"""Log martingale at which the server withdraws its promise: ln 10^3."""

_BUNDLE = Row(
    title="Bundle in use",
    panels=(
        Facts(
            title="Served",
            description="What each server answers with. During a roll-out two digests are normal.",
            queries=(Query(expr=series("offpath_bundle_info")),),
            columns=("instance", "digest", "backbone", "created"),
            width=12,
            height=6,
        ),
        Stat(
            title="Age",
            description="Time since the oldest bundle that is served was calibrated.",
            queries=(Query(expr=f"max(time() - {series(_CREATED)})"),),
            unit="s",
            height=6,
            marks=(Mark(value=_OLD_S / 2, colour="yellow"), Mark(value=_OLD_S, colour="red")),
        ),
        Stat(
            title="Budget",
            description="Share of clean images that may be flagged unless a caller asks for less.",
            queries=(Query(expr=f"max({series('offpath_alarm_budget_ratio')})"),),
            unit="percentunit",
            height=6,
        ),
        Stat(
            title="Bundles served",
            description="Different ones. More than 1 for long: a roll-out that has stopped.",
            queries=(Query(expr=f"count(count by (digest) ({series('offpath_bundle_info')}))"),),
            height=6,
            marks=(Mark(value=2, colour="yellow"),),
        ),
        Lines(
            title="Changes",
            description="Bundles loaded, refused, promoted and rolled back in the chosen time.",
            queries=(
                Query(
                    expr=increase("offpath_bundle_loads_total", by="outcome"),
                    legend="loads {{outcome}}",
                ),
                Query(expr=increase("offpath_bundle_promotions_total"), legend="promotions"),
                Query(expr=increase("offpath_bundle_rollbacks_total"), legend="ways back"),
            ),
            width=24,
            height=6,
        ),
    ),
)

_SHADOW = Row(
    title="The bundle in the shadow",
    panels=(
        Lines(
            title="Judges otherwise",
            description="Share of the images judged by both that got another class or another "
            "verdict, over the chosen time. Promote while this is understood.",
            queries=(
                Query(
                    expr=increase("offpath_shadow_disagreements_total", by="kind")
                    + f" / on() group_left() {_SHADOWED}",
                    legend="{{kind}}",
                ),
            ),
            unit="percentunit",
        ),
        Lines(
            title="Difference of p-values",
            description="Absolute, of the two bundles for one image.",
            queries=tuple(
                Query(expr=quantile(share, "offpath_shadow_p_value_difference"), legend=name)
                for share, name in ((0.5, "p50"), (0.95, "p95"))
            ),
        ),
        Lines(
            title="Shadowed calls",
            description="Calls in a second that the bundle standing by was to judge as well. "
            "Dropped: the server had no time for it.",
            queries=(
                Query(
                    expr=per_second("offpath_shadow_calls_total", by="outcome"),
                    legend="{{outcome}}",
                ),
            ),
            unit="reqps",
            stacked=True,
        ),
    ),
)

_DRIFT = Row(
    title="Drift",
    panels=(
        Stat(
            title="Promise withdrawn",
            description="Servers whose traffic no longer is what their bundle was calibrated on. "
            "Calibrate on recent clean images.",
            queries=(Query(expr=f"sum({series('offpath_drift_alarm')})"),),
            height=8,
            marks=(Mark(value=1, colour="red"),),
        ),
        Lines(
            title="Evidence of drift",
            description="Logarithm of the martingale that each server keeps on the p-values of "
            "images that look clean. It wanders below zero on clean traffic; the line is a chance "
            "of one in a thousand, ever.",
            queries=(Query(expr=series("offpath_drift_log_martingale"), legend="{{instance}}"),),
            width=7,
            marks=(Mark(value=_DRIFT_IS_SURE, colour="red"),),
        ),
        Lines(
            title="Images watched for drift",
            description="In a second: those that look clean.",
            queries=(
                Query(expr=per_second("offpath_drift_images_total"), legend="watched"),
                Query(expr=per_second("offpath_images_total"), legend="answered"),
            ),
            unit="cps",
            width=6,
        ),
        Lines(
            title="Drift by layer",
            description="Mean distance from clean paths, as a multiple of that in calibration: "
            "where the change begins says what changed. Early layers: brightness, blur, "
            "noise; late ones: other motifs.",
            queries=(
                Query(
                    expr=f"avg by (layer) ({series('offpath_layer_drift_ratio')})",
                    legend="{{layer}}",
                ),
            ),
            width=7,
            marks=(Mark(value=1, colour="orange"),),
        ),
    ),
)

_GATES = Row(
    title="Closed filters",
    panels=(
        Stat(
            title="Multiplications needed",
            description="Of those of the network without gates, what served images need, modules "
            "included. A count by gates: it is saved only in layers that leave closed filters out.",
            queries=(Query(expr=share("offpath_needed_macs_total", "offpath_plain_macs_total")),),
            unit="percentunit",
            height=8,
        ),
        Lines(
            title="Needed and open, over time",
            description="What images need, and the share of their gates that are open. A change "
            "without another bundle: other images come.",
            queries=(
                Query(
                    expr=share("offpath_needed_macs_total", "offpath_plain_macs_total"),
                    legend="multiplications needed",
                ),
                Query(
                    expr=share("offpath_open_gates_total", "offpath_gates_total"),
                    legend="gates open",
                ),
            ),
            unit="percentunit",
            width=6,
        ),
        Lines(
            title="Needed by layer",
            description="The same for each layer. Above 100 %: its module costs more than its "
            "closed filters spare. Layers without gates always need all.",
            queries=(
                Query(
                    expr=share("offpath_needed_macs_total", "offpath_plain_macs_total", by="layer"),
                    legend="{{layer}}",
                ),
            ),
            unit="percentunit",
            width=7,
            marks=(Mark(value=1, colour="orange"),),
        ),
        Facts(
            title="How layers are computed",
            description="As was the fastest when the bundle was warmed up: masked computes closed "
            "filters too, all other ways leave them out.",
            queries=(Query(expr=series("offpath_skipping_info")),),
            columns=("instance", "layer", "way"),
            width=7,
        ),
    ),
)

MODEL = Dashboard(
    name="model",
    title="Offpath: model",
    description="For who calibrates: the bundle in use, what the next one would say, drift, and "
    "what gates spare.",
    rows=(_BUNDLE, _SHADOW, _DRIFT, _GATES),
)
