"""What the command line shows of interpretations."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from detector.jobs.evaluation.estimates import Estimate
from detector.jobs.interpretation import Interpretation
from detector.jobs.interpretation.closing import TIMES, Closing
from detector.jobs.interpretation.combinations import Combination
from detector.jobs.interpretation.dissection import Dissection
from detector.jobs.interpretation.story import LayerStory, Story

__all__ = ["interpretation_lines", "story_lines"]


def interpretation_lines(found: Interpretation) -> Iterator[RenderableType]:
    """What was found out about a network, part by part."""
    yield _heading("What each layer's gates know of the class")
    yield _layers_table(found)
    probes, last = found.probes, found.probes.layers[-1]
    yield Text(
        f"The network itself: {_hundredfold(probes.network.estimate)} % of {found.check_images:,} "
        f"{found.check_split} images; always the most frequent class: {probes.chance:.1%}; "
        f"entropy of the class: {probes.class_entropy:.2f} nats. The bits of {last.layer} are in "
        f"{last.paths} states on these images: no reading of them finds more than "
        f"{last.at_most:.1%} of the classes."
    )
    yield Text()
    yield _heading("Classes whose paths are alike, the most alike first")
    yield Text("\n".join(_merges(found)))
    yield Text()
    yield _heading("The smallest combination that stands for a concept, and the best single gate")
    yield _combinations_table(found)
    for each in found.combinations:
        yield Text.assemble((each.concept, "bold"), f": {each.combination.sentence}")
    yield Text()
    if found.closings:
        yield _heading("What closing their open gates does to accuracy")
        yield _closings_table(found)
        yield Text(_harmless(found.closings))
        yield Text()
    if found.dissections:
        yield _heading("Where concepts are: pixels of masks that lit filters cover")
        yield _dissections_table(found)
        for place in found.dissections:
            yield Text.assemble((place.concept, "bold"), f": {place.combination.sentence}")
        yield Text()


def story_lines(name: str, story: Story) -> Iterator[RenderableType]:
    """The story of one image.

    Args:
        name: Name of the image.
        story: Its story.
    """
    yield Text.assemble(
        (name, "bold"),
        f": {story.predicted} ({story.probability:.1%}), {story.verdict}, "
        f"p-value {story.p_value:.3g}",
    )
    table = _table("layer", "open", "usual", "unusually open", "unusually closed", "distance")
    table.add_column(f"nearer to {story.rival}", justify="right")
    table.add_column("differing", justify="right")
    for layer in story.layers:
        table.add_row(*_layer_row(layer))
    yield table
    other = story.rival if story.settles_on == story.predicted else story.predicted
    yield Text(
        f"From {story.settles_at} on, its path is nearer to those of {story.settles_on} than to "
        f"those of {other}."
    )
    if story.explanation is not None:
        for gate in story.explanation.gates:
            yield Text(gate.sentence)
        near = (
            f"{each.label} (training image {each.image})" for each in story.explanation.neighbours
        )
        yield Text(f"Nearest clean paths: {', '.join(near)}.")
    yield Text()


def _layers_table(found: Interpretation) -> Table:
    table = _table("layer", "gates", "always open,\nclosed", "open", "probe", "of at\nmost")
    for title in ("gate\nlogits", "nats", "shuffled"):
        table.add_column(title, justify="right")
    kinds = {each.layer: each for each in found.gates}
    for probe in (*found.probes.layers, found.probes.path):
        kind, known = kinds.get(probe.layer), probe.information
        table.add_row(
            probe.layer,
            str(probe.gates),
            "" if kind is None else f"{kind.always_open}, {kind.always_closed}",
            "" if kind is None else f"{kind.open_share:.0%}",
            f"{probe.accuracy.rate:.1%}",
            f"{probe.at_most:.1%}",
            f"{probe.from_logits.rate:.1%}",
            f"{known.value:.2f} [{known.low:.2f}, {known.high:.2f}]",
            f"{probe.control.rate:.1%}",
        )
    return table


def _merges(found: Interpretation) -> Iterator[str]:
    distances = found.distances[0]
    for merge in distances.merges:
        first, second = (
            ", ".join(found.class_names[label] for label in side)
            for side in (merge.first, merge.second)
        )
        yield f"{merge.divergence:6.2f} nats  {first} | {second}"
    yield f"{distances.shuffled_divergence:6.2f} nats  with shuffled labels"


def _combinations_table(found: Interpretation) -> Table:
    table = _table("%", "precision", "recall", "balanced\naccuracy", "best single\ngate")
    table.add_column("better", justify="right")
    for each in found.combinations:
        table.add_row(*_combination_row(each))
    return table


def _combination_row(found: Combination) -> tuple[str, ...]:
    rule = found.combination
    return (
        found.concept,
        "-" if rule.precision is None else f"{100 * rule.precision.rate:.1f}",
        f"{100 * rule.recall.rate:.1f}",
        _hundredfold(rule.balanced_accuracy),
        _hundredfold(found.single.balanced_accuracy),
        "yes" if found.beats_single else "no",
    )


def _closings_table(found: Interpretation) -> Table:
    table = _table("points", "closed", "its images lose", "others lose", "by random gates")
    table.add_column("times", justify="right")
    for each in found.closings:
        table.add_row(
            each.concept,
            str(len(each.gates)),
            _hundredfold(each.harm),
            _hundredfold(each.harm_to_others),
            _hundredfold(each.random_harm),
            "-" if each.ratio is None else f"{each.ratio:.1f}",
        )
    return table


def _dissections_table(found: Interpretation) -> Table:
    table = _table("%", "filters", "IoU", "pixel\nprecision", "pixel\nrecall")
    table.add_column("best single\nfilter's IoU", justify="right")
    table.add_column("better", justify="right")
    for each in found.dissections:
        table.add_row(*_dissection_row(each))
    return table


def _dissection_row(found: Dissection) -> tuple[str, ...]:
    cover = found.combination.cover
    return (
        found.concept,
        str(len(found.combination.filters)),
        _hundredfold(cover.iou),
        "-" if cover.precision is None else _hundredfold(cover.precision),
        _hundredfold(cover.recall),
        _hundredfold(found.singles[0].cover.iou),
        "yes" if found.beats_single else "no",
    )


def _harmless(closings: tuple[Closing, ...]) -> str:
    short = [each.concept for each in closings if not each.holds]
    if not short:
        return f"All lose at least {TIMES} times what random gates of the same layers cost them."
    return f"Less than {TIMES} times what random gates of the same layers cost: {', '.join(short)}."


def _layer_row(layer: LayerStory) -> tuple[str, ...]:
    return (
        layer.layer,
        str(layer.open_gates),
        str(layer.usual),
        _numbers(layer.unusually_open),
        _numbers(layer.unusually_closed),
        f"{layer.distance:+.2f}" if math.isfinite(layer.distance) else "-",
        f"{layer.rival_margin:+.1f}" if math.isfinite(layer.rival_margin) else "-",
        "" if layer.differing is None else str(layer.differing),
    )


def _numbers(filters: tuple[int, ...]) -> str:
    return ", ".join(map(str, filters)) or "-"


def _table(first: str, *others: str) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    table.add_column(first, no_wrap=True)
    for title in others:
        table.add_column(title, justify="right")
    return table


def _heading(text: str) -> Text:
    return Text(text, style="bold")


def _hundredfold(estimate: Estimate) -> str:
    """In per cent, or points, with its interval."""
    return f"{100 * estimate.value:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"
