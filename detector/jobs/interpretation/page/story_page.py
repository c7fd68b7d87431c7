"""The stories of some images side by side: a clean one, and what an attack made of it."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import Final

from PIL import Image
from torch import Tensor

from detector.explanation import NearImage
from detector.jobs.calibration_report.page.charts import colour
from detector.jobs.interpretation.page.frame import framed
from detector.jobs.interpretation.story import LayerStory, Story
from detector.jobs.pages.markup import Markup, element, legend, section, table
from detector.jobs.pages.plane import WIDTH, Axis, Plane, drawing

__all__ = ["story_page"]

_NOTE: Final = (
    "Distance: how much farther a layer's part of the path lies from clean images of the predicted "
    "class than these do on average, in their standard deviations. Usual: gates in a state that "
    "more than 5 % of these have them in. Nearer: by how much the layer fits the second class "
    "better, in squared distances; below 0, the predicted one fits better."
)


def story_page(
    stories: Sequence[Story],
    names: Sequence[str],
    pictures: Tensor,
    near: Mapping[int, Tensor],
) -> str:
    """Stories as HTML, with nothing outside of it: no script, no font, no request.

    Args:
        stories: The stories, at least one.
        names: Name of each image.
        pictures: The images, uint8 of shape (B, 3, H, W).
        near: Training images by their index, uint8 of shape (3, H, W); those that are missing are
            told by their index alone.
    """
    told = zip(stories, names, pictures, strict=True)
    intro = (
        "Each image's path against clean images of the class that it is predicted as, layer by "
        "layer, and against a second class: that of the first image, or else the one that fits "
        "best."
    )
    return framed(
        "The story of a path",
        element(
            "header",
            element("h1", "The story of a path"),
            element("p", intro),
            element("div", *(_image(*each, near) for each in told), class_="charts"),
        ),
        section(
            "Layer by layer",
            element("p", _NOTE, class_="note"),
            _chart(stories, names),
            id_="layers",
        ),
        *(section(name, *_layers(each)) for each, name in zip(stories, names, strict=True)),
    )


def _image(story: Story, name: str, picture: Tensor, near: Mapping[int, Tensor]) -> Markup:
    other = story.rival if story.settles_on == story.predicted else story.predicted
    found = story.explanation
    gates = [] if found is None else [element("li", gate.sentence) for gate in found.gates]
    neighbours = () if found is None else found.neighbours
    return element(
        "figure",
        element("figcaption", name),
        _picture(picture, name),
        element(
            "p",
            element("strong", f"{story.predicted}, {story.verdict}"),
            f" (probability {story.probability:.1%}, p-value {story.p_value:.2g}). From "
            f"{story.settles_at} on, its path is nearer to those of {story.settles_on} than to "
            f"those of {other}.",
        ),
        element("p", "Training images with the nearest paths:"),
        element("div", *(_neighbour(each, near) for each in neighbours), class_="near"),
        element("p", "Gates that add most to its distance from its class:"),
        element("ul", *gates),
    )


def _neighbour(image: NearImage, near: Mapping[int, Tensor]) -> Markup:
    picture = near.get(image.image)
    differing = "" if image.differing is None else f", {image.differing:.1%} of gates differ"
    return element(
        "figure",
        *([] if picture is None else [_picture(picture, image.label)]),
        element("figcaption", image.label, title=f"training image {image.image}{differing}"),
    )


def _picture(pixels: Tensor, text: str) -> Markup:
    file = BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy()).save(file, "PNG")
    data = b64encode(file.getvalue()).decode()
    return element("img", src=f"data:image/png;base64,{data}", alt=text, class_="picture")


def _chart(stories: Sequence[Story], names: Sequence[str]) -> Markup:
    """Distances from the predicted class: on a scale that shows both what is usual and what is not.

    The root keeps a few standard deviations visible beside dozens.
    """
    lines = [
        [
            (float(place), _root(each.distance))
            for place, each in enumerate(story.layers, start=1)
            if math.isfinite(each.distance)
        ]
        for story in stories
    ]
    everything = [value for line in lines for _, value in line]
    count = len(stories[0].layers)
    low, high = math.floor(min([0.0, *everything])), math.ceil(max([2.0, *everything]))
    plane = Plane(
        x=Axis(
            low=0.5,
            high=count + 0.5,
            begin=40.0,
            end=WIDTH - 20,
            ticks=[(x + 1.0, str(x + 1)) for x in range(0, count, max(1, count // 6))],
            title="layer, from the image on",
        ),
        y=Axis(
            low=low,
            high=high,
            begin=200,
            end=20,
            ticks=[(y, str(y * abs(y))) for y in range(low, high + 1, 1 + (high - low) // 9)],
            title="standard deviations, on a root scale",
        ),
    )
    title = "Distance from clean images of the predicted class"
    drawn = [
        plane.line(line, colour(place), name)
        for place, (line, name) in enumerate(zip(lines, names, strict=True))
        if line
    ]
    return element(
        "figure",
        element("figcaption", title),
        drawing(236, title, *plane.axes(), *drawn),
        legend([(colour(place), name) for place, name in enumerate(names)]),
    )


def _layers(story: Story) -> Iterator[Markup]:
    head = ["layer", "open", "usual", "unusually open", "unusually closed", "distance"]
    head += [f"nearer to {story.rival}"]
    if story.layers[0].differing is not None:
        head += ["differ from the first"]
    yield table(head, [_row(place, each) for place, each in enumerate(story.layers, start=1)])


def _row(place: int, layer: LayerStory) -> list[str]:
    return [
        f"{place}. {layer.layer}",
        str(layer.open_gates),
        str(layer.usual),
        ", ".join(map(str, layer.unusually_open)) or "-",
        ", ".join(map(str, layer.unusually_closed)) or "-",
        f"{layer.distance:+.2f}" if math.isfinite(layer.distance) else "-",
        f"{layer.rival_margin:+.1f}" if math.isfinite(layer.rival_margin) else "-",
        *([] if layer.differing is None else [str(layer.differing)]),
    ]


def _root(value: float) -> float:
    """The square root with the value's own sign."""
    return math.copysign(math.sqrt(abs(value)), value)
