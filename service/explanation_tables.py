"""What the command line shows of explanations."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from detector.explanation import ExplainedGate, ExplainedLayer, Explanation, NearImage, ScorePart
from service.results import Detection

__all__ = ["explanation_lines"]


def explanation_lines(name: str, detection: Detection) -> Iterator[RenderableType]:
    """An image's explanation, for below the table of all images; nothing where there is none.

    Args:
        name: Name of the image.
        detection: What was found.
    """
    found = detection.explanation
    if found is None:
        return
    yield Text()
    if found.parts:
        yield Text.assemble(
            (name, "bold"), ": what its score is made of, and what each part says where it is large"
        )
        for part in found.parts:
            yield Text(_part(part))
        yield Text()
    yield Text.assemble((name, "bold"), f": what speaks against {detection.label} in its path")
    if found.gates:
        yield _gates_table(found)
        for gate in found.gates:
            yield Text(gate.sentence)
    if found.layers:
        yield Text(f"Farthest layers: {', '.join(map(_layer, found.layers))}.")
    yield Text(found.rival.sentence)
    if found.neighbours:
        yield Text(f"Nearest clean paths: {', '.join(map(_neighbour, found.neighbours))}.")


def _gates_table(explanation: Explanation) -> Table:
    """One row for each gate, and the sum over all gates where that is told."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("layer", overflow="fold")
    for title in ("filter", "gate", "open in", "activation", "usual", "adds"):
        table.add_column(title, justify="right", no_wrap=True)
    for gate in explanation.gates:
        table.add_row(*_row(gate))
    if explanation.distance is not None:
        table.add_section()
        table.add_row("all gates", "", "", "", "", "", f"{explanation.distance:+.2f}")
    return table


def _row(gate: ExplainedGate) -> tuple[str, ...]:
    return (
        gate.layer,
        str(gate.filter),
        "open" if gate.is_open else "closed",
        f"{gate.open_share:.1%}",
        f"{gate.activation:.2f}",
        f"{gate.usual_activation:.2f}",
        "-" if gate.contribution is None else f"{gate.contribution:+.2f}",
    )


def _part(part: ScorePart) -> str:
    added = "" if part.surprisal is None else f" {part.surprisal:+.2f}"
    return f"{part.name}{added}: {part.sentence}"


def _layer(layer: ExplainedLayer) -> str:
    return layer.name if layer.contribution is None else f"{layer.name} {layer.contribution:+.2f}"


def _neighbour(image: NearImage) -> str:
    differing = "" if image.differing is None else f", {image.differing:.1%} of gates differ"
    return f"{image.label} (training image {image.image}{differing})"
