"""The page of an interpretation: one file that asks nothing of the network."""

from __future__ import annotations

from typing import Final

from detector.jobs.interpretation.interpretation import Interpretation
from detector.jobs.interpretation.page.class_part import class_part
from detector.jobs.interpretation.page.concept_part import cause_part, concept_part
from detector.jobs.interpretation.page.frame import framed
from detector.jobs.interpretation.page.layer_part import layer_part
from detector.jobs.interpretation.page.map_part import map_part
from detector.jobs.interpretation.page.place_part import place_part
from detector.jobs.pages.frame import tile
from detector.jobs.pages.markup import Markup, element, section

__all__ = ["page"]

_SECTIONS: Final = (
    ("layers", "Layers"),
    ("maps", "Maps"),
    ("classes", "Classes"),
    ("concepts", "Concepts"),
    ("cause", "Cause"),
    ("places", "Places"),
)


def page(found: Interpretation) -> str:
    """An interpretation as HTML, with nothing outside of it: no script, no font, no request."""
    body = [
        _header(found),
        section("What each layer's gates know of the class", *layer_part(found), id_="layers"),
        section("Images by the gates of each layer", *map_part(found), id_="maps"),
        section("How far the paths of classes lie apart", *class_part(found), id_="classes"),
        section("What stands for a concept", *concept_part(found), id_="concepts"),
        section("What closing its gates does", *cause_part(found), id_="cause"),
        section("Where concepts are in images", *place_part(found), id_="places"),
    ]
    return framed(f"Paths of {found.network[:12]}", *body)


def _header(found: Interpretation) -> Markup:
    links = (element("a", name, href=f"#{place}") for place, name in _SECTIONS)
    return element(
        "header",
        element("h1", "What the paths of a network mean"),
        element(
            "p",
            "Network ",
            element("code", found.network[:12]),
            f". Probes and combinations are found with {found.learn_images:,} "
            f"{found.learn_split} images, and checked on {found.check_images:,} "
            f"{found.check_split} images that they have not seen. Intervals are of 95 % where "
            "nothing else is said.",
        ),
        element("div", *_tiles(found), class_="tiles"),
        element("nav", *links),
    )


def _tiles(found: Interpretation) -> list[Markup]:
    probes = found.probes
    better = sum(each.beats_single for each in found.combinations)
    hurt = sum(each.holds for each in found.closings)
    gates = sum(each.input_dependent for each in found.gates)
    fixed = sum(each.always_open + each.always_closed for each in found.gates)
    tiles = [
        (f"{probes.network.rate:.1%}", "accuracy of the network"),
        (f"{probes.path.accuracy.rate:.1%}", f"found by a probe: {probes.path.layer}"),
        (f"{gates / (gates + fixed):.0%}", "of the gates depend on the image"),
        (
            f"{better} of {len(found.combinations)}",
            "concepts whose combination beats every single gate",
        ),
    ]
    if found.closings:
        meaning = "concepts lose far more by their own gates than by random ones"
        tiles.append((f"{hurt} of {len(found.combinations)}", meaning))
    return [tile(figure, meaning) for figure, meaning in tiles]
