"""The page of a sweep: one file that asks nothing of the network."""

from __future__ import annotations

from typing import Final

from detector.jobs.evaluation.markdown import area_text, share_text
from detector.jobs.pages.frame import framed, tile
from detector.jobs.pages.markup import Markup, element, section, table
from detector.jobs.sparsity_sweep.curves import accuracy_curve, area_curves, time_curves
from detector.jobs.sparsity_sweep.page.charts import kept_chart
from detector.jobs.sparsity_sweep.report import SweepReport
from detector.jobs.sparsity_sweep.words import (
    cost_table,
    detection_table,
    name_of,
    ratio_text,
    time_table,
)

__all__ = ["page"]

_STYLE: Final = """
.budget-key { color: var(--budget); border-top-style: dashed; }
.scroll td, .scroll th { white-space: nowrap; }
"""


def page(report: SweepReport) -> str:
    """A sweep as HTML, with nothing outside of it: no script, no font, no picture, no request.

    Args:
        report: The sweep.
    """
    body = [
        _header(report),
        section("Side by side", *_charts(report), id_="charts"),
        section("Accuracy and multiplications", *_costs(report), id_="costs"),
        section("Time", *_times(report), id_="times"),
        section("Detection", *_detection(report), id_="detection"),
    ]
    return framed("What closing filters costs", *body, style=_STYLE)


def _header(report: SweepReport) -> Markup:
    shown = ", ".join(f"{each.open_share:g}" for each in report.networks)
    return element(
        "header",
        element("h1", "What closing filters costs"),
        element(
            "p",
            f"{report.backbone}, decoupled {len(report.networks)} times from the same plain "
            f"network and trained for another share R of open gates each time: {shown}. Figures "
            f"are of {report.test_images:,} test images, brackets hold 95 % intervals.",
        ),
        element("div", *_tiles(report), class_="tiles"),
    )


def _tiles(report: SweepReport) -> list[Markup]:
    sparsest = min(report.networks, key=lambda each: each.kept.mean)
    name, before = name_of(sparsest), name_of(report.reference)
    tiles = [
        tile(f"{sparsest.kept.mean * 100:.0f} %", f"of the multiplications kept at {name}"),
        tile(
            f"{report.accuracy_lost(sparsest).value * 100:.1f} points",
            f"of accuracy lost at {name}, against {before}",
        ),
        tile(f"{sparsest.times.served.value:.2f} x", f"the plain network's time at {name}"),
    ]
    mean = sparsest.detection.mean_auroc
    if mean is not None:
        tiles.append(tile(f"{mean.value:.3f}", f"mean AUROC of attacks at {name}"))
    return tiles


def _charts(report: SweepReport) -> list[Markup]:
    accuracy = kept_chart(
        report,
        [accuracy_curve(report)],
        title="Accuracy",
        y_title="test images classified right",
        text=share_text,
        tick=lambda value: f"{value * 100:.3g} %",
        mark=report.plain_accuracy.rate,
        mark_text="plain network",
    )
    times = kept_chart(
        report,
        time_curves(report),
        title="Time of one image",
        y_title="by that of the plain network",
        text=ratio_text,
        tick=lambda value: f"{value:.3g} x",
        mark=1.0,
        mark_text="plain network",
    )
    shown, areas = [accuracy, times], area_curves(report)
    if areas:
        detection = kept_chart(
            report,
            areas,
            title="Detection of attacks by one pass",
            y_title="area under the ROC curve",
            text=area_text,
            tick=lambda value: f"{value:.3g}",
        )
        shown.append(detection)
    return [element("div", *shown, class_="charts")]


def _costs(report: SweepReport) -> list[Markup]:
    plain = f"The plain network classifies {share_text(report.plain_accuracy)} of the images right."
    note = (
        "Multiplications by the paper's rule, as shares of the plain network's, on average and for "
        "5 to 95 % of the images; what the modules cost that open and close filters, "
        f"{report.reference.modules * 100:.2f} %, is counted among them. Points are lost against "
        f"{name_of(report.reference)}."
    )
    return [
        element("p", note, class_="note"),
        table(*cost_table(report)),
        element("p", plain),
    ]


def _times(report: SweepReport) -> list[Markup]:
    times = report.reference.times
    note = (
        f"Medians over {times.images} images, one by one on one thread of a CPU, from pixels in "
        "memory, the fastest of three runs each; the ways take turns on each image and are told by "
        "the plain network's time on the same image. Masked: all filters are computed and closed "
        "ones dropped. As served: as the pipeline runs the network. With the verdict: the whole "
        "pipeline at the level fast."
    )
    return [element("p", note, class_="note"), table(*time_table(report))]


def _detection(report: SweepReport) -> list[Markup]:
    plan = report.plan
    note = (
        f"Area under the ROC curve of the level fast, which looks at one pass and was fitted "
        f"without attacks: {plan.attacked} test images attacked, of which those count that were "
        "classified right before and wrong after, against the other test images. Each network "
        "is attacked itself. The last column is what detection has lost, on average, against "
        f"{name_of(report.reference)}, where the same attacks succeed on both."
    )
    successes = [
        f"{name_of(each)}: "
        + ", ".join(f"{a.attack} {share_text(a.success)}" for a in each.detection.attacks)
        for each in report.networks
    ]
    return [
        element("p", note, class_="note"),
        table(*detection_table(report)),
        element("h3", "How often attacks succeed"),
        element("ul", *(element("li", line) for line in successes)),
    ]
