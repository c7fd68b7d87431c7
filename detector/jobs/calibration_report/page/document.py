"""The page of a calibration report: one file that asks nothing of the network."""

from __future__ import annotations

from typing import Final

from detector.jobs.calibration_report.page.card_part import card_part, promise_text
from detector.jobs.calibration_report.page.charts import Series, curve_chart, gate_chart
from detector.jobs.calibration_report.page.level_part import level_part
from detector.jobs.calibration_report.report import CalibrationReport
from detector.jobs.evaluation.figures import ScoreFigures
from detector.jobs.evaluation.markdown import NONE_TEXT, budget_text
from detector.jobs.pages.frame import framed, tile
from detector.jobs.pages.heat_map import MOST_CLASSES, heat_map
from detector.jobs.pages.markup import (
    Markup,
    details,
    element,
    section,
    table,
)

__all__ = ["page"]

_SECTIONS: Final = (
    ("sources", "What is measured"),
    ("level", "Default level"),
    ("paths", "Paths"),
    ("gates", "Gates"),
    ("fewer", "Fewer images"),
    ("card", "Model card"),
)


def page(report: CalibrationReport) -> str:
    """A report as HTML, with nothing outside of it: no script, no font, no picture, no request.

    Args:
        report: The report.
    """
    default, *others = report.levels
    body = [
        _header(report, default.score),
        section("What is measured", *_sources(report), id_="sources"),
        section(f"Level {default.level} (default)", level_part(default, report), id_="level"),
        *(details(f"Level {each.level}", level_part(each, report)) for each in others),
        section("Paths of clean images", *_paths(report), id_="paths"),
        section("Gates", *_gates(report), id_="gates"),
        section("Fewer images", *_fewer(report), id_="fewer"),
        section("Model card", card_part(report), id_="card"),
    ]
    return framed(f"Calibration of {report.card.digest[:12]}", *body)


def _header(report: CalibrationReport, score: ScoreFigures) -> Markup:
    card = report.card
    links = (element("a", name, href=f"#{place}") for place, name in _SECTIONS)
    return element(
        "header",
        element("h1", "Calibration report"),
        element(
            "p",
            f"{card.backbone}, {len(report.class_names)} classes, bundle ",
            element("code", card.digest[:12]),
            f", calibrated {card.created[:10]}. Promise: {promise_text(report)}.",
        ),
        element("div", *_tiles(report, score), class_="tiles"),
        element("nav", *links),
    )


def _tiles(report: CalibrationReport, score: ScoreFigures) -> list[Markup]:
    alarms = next((a for a in score.false_alarms if a.budget == report.card.alpha), None)
    mean, worst = score.mean_auroc, score.worst
    gates = sum(layer.input_dependent for layer in report.gates)
    return [
        tile(
            NONE_TEXT if alarms is None else f"{alarms.pooled.rate * 100:.1f} %",
            f"clean images flagged at {budget_text(report.card.alpha)}",
        ),
        tile(NONE_TEXT if mean is None else f"{mean.value:.3f}", "mean AUROC over attacks"),
        tile(
            NONE_TEXT if worst is None else f"{worst.auroc.value:.3f}",
            "worst AUROC" if worst is None else f"worst AUROC: {worst.attack}",
        ),
        tile(f"{gates / report.card.gates * 100:.0f} %", "gates that depend on the image"),
    ]


def _sources(report: CalibrationReport) -> list[Markup]:
    return [element("p", note) for note in report.sources.notes]


def _paths(report: CalibrationReport) -> list[Markup]:
    maps, layers = report.paths, [layer.name for layer in report.gates]
    order = sorted(range(len(maps.images)), key=lambda c: -maps.images[c])
    chosen = sorted(order[:MOST_CLASSES])
    images = sum(maps.images)
    note = f"On {images} clean calibration images, by predicted class and layer, in per cent."
    if len(order) > MOST_CLASSES:
        note += f" The {MOST_CLASSES} most frequent of {len(order)} classes; the JSON has all."
    return [
        element("p", note, class_="note"),
        heat_map(
            "Open gates",
            [(report.class_names[c], maps.open_shares[c]) for c in chosen],
            layers,
        ),
        heat_map(
            "How far a class's gates lie from the mean of all classes: where its path is its own",
            [(report.class_names[c], maps.distances[c]) for c in chosen],
            layers,
        ),
    ]


def _gates(report: CalibrationReport) -> list[Markup]:
    images = sum(report.paths.images)
    note = (
        f"Always open and always closed: for each of {images} clean calibration images. Such "
        "gates tell no clean image from another."
    )
    rows = [
        [
            layer.name,
            str(layer.always_open),
            str(layer.input_dependent),
            str(layer.always_closed),
            f"{layer.open_share * 100:.1f} %",
        ]
        for layer in report.gates
    ]
    head = ["layer", "always open", "input-dependent", "always closed", "open on average"]
    return [
        element("p", note, class_="note"),
        element("div", gate_chart(report.gates), table(head, rows), class_="charts"),
    ]


def _fewer(report: CalibrationReport) -> list[Markup]:
    charts = [*_size_charts(report), *_few_shot_chart(report)]
    note = (
        "Smaller calibrations: false alarms on images that each did not use, and attacks flagged, "
        f"at {budget_text(report.card.alpha)} and the default level; bars span several draws. "
        "A small calibration has to be careful, and finds less."
    )
    *smaller, whole = report.sizes
    short = [str(point.images) for point in smaller if point.false_alarms is None]
    if short:
        note += f" {', '.join(short)} images leave some class too few for this budget."
    if whole.false_alarms is None:
        note += f" All {whole.images} leave none to count false alarms on."
    parts = [element("p", note, class_="note"), element("div", *charts, class_="charts")]
    if report.few_shot:
        learnt = (
            "Few-shot: classifiers that read nothing but path bits, clean and attacked, tested on "
            "other images. They show what bits tell by themselves; they are no part of the bundle."
        )
        parts.append(element("p", learnt, class_="note"))
    return parts


def _size_charts(report: CalibrationReport) -> list[Markup]:
    budget = report.card.alpha
    alarms = tuple((float(p.images), p.false_alarms) for p in report.sizes if p.false_alarms)
    found = tuple((float(p.images), p.found) for p in report.sizes if p.found)
    charts = []
    if alarms:
        charts.append(
            curve_chart(
                [Series(name="false alarms", points=alarms)],
                title=f"False alarms at {budget_text(budget)}",
                x_title="calibration images",
                y_title="clean images flagged",
                high=max(budget * 1.4, *(estimate.high for _, estimate in alarms)),
                mark=budget,
            )
        )
    if found:
        charts.append(
            curve_chart(
                [Series(name="attacks", points=found)],
                title=f"Attacks flagged at {budget_text(budget)}, mean over attacks",
                x_title="calibration images",
                y_title="attacked images flagged",
            )
        )
    return charts


def _few_shot_chart(report: CalibrationReport) -> list[Markup]:
    if not report.few_shot:
        return []
    names = dict.fromkeys(point.classifier for point in report.few_shot)
    series = [
        Series(
            name=name,
            points=tuple(
                (float(point.images_per_class), point.auroc)
                for point in report.few_shot
                if point.classifier == name
            ),
        )
        for name in names
    ]
    least = min(estimate.low for each in series for _, estimate in each.points)
    return [
        curve_chart(
            series,
            title=f"Few-shot on path bits: {report.few_shot[0].attack}",
            x_title="images a class to learn from",
            y_title="AUROC",
            low=min(0.4, int(least * 10) / 10),
            per_cent=False,
        )
    ]
