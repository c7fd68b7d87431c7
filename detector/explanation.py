"""Why an image looks as suspicious as it does: what its path says, and what it says instead.

Plain data, without torch: the pipeline fills it in, and clients get the same.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "ExplainedGate",
    "ExplainedLayer",
    "Explanation",
    "NearImage",
    "Rival",
    "ScorePart",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainedLayer:
    """One layer's part in how far a path lies from clean paths of the predicted class.

    Args:
        name: Name of the layer.
        contribution: Sum of the contributions of all its gates, see `ExplainedGate`; None where it
            is not told.
    """

    name: str
    contribution: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainedGate:
    """One gate's part in how far a path lies from clean paths of the predicted class.

    Args:
        layer: Name of its layer.
        filter: Index of its filter within the layer, from 0.
        is_open: Whether it is open.
        open_share: Share of clean images of the predicted class in which it is open, in (0, 1).
        activation: Mean over height and width of its output channel; 0 where it is closed.
        usual_activation: Mean of that over clean images of the predicted class.
        contribution: What it adds to `Explanation.distance`; None where it is not told.
        sentence: The same in plain words.
    """

    layer: str
    filter: int
    is_open: bool
    open_share: float
    activation: float
    usual_activation: float
    contribution: float | None
    sentence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Rival:
    """The class, other than the predicted one, whose clean paths fit a path best.

    Args:
        index: Index of the class.
        label: Its name.
        margin: Squared distance from the predicted class less that from this one, each summed over
            all layers: positive where this one fits better. None where it is not told.
        sentence: The same in plain words.
    """

    index: int
    label: str
    margin: float | None
    sentence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NearImage:
    """A clean training image that took nearly the same path.

    Args:
        image: Its index within the training images of the data that the bundle was made with.
        index: Index of its class.
        label: Name of its class.
        differing: Share of all gates that are open for one of the two and closed for the other, in
            [0, 1]; None where it is not told.
    """

    image: int
    index: int
    label: str
    differing: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ScorePart:
    """One of the things that a score is the sum of.

    Args:
        name: What it is called, such as ``activations`` or ``margin fall``.
        surprisal: What it adds to the score, nats; None where it is not told.
        sentence: What it says of an image where it is large, in plain words.
    """

    name: str
    surprisal: float | None
    sentence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """What a score is made of, and how the path of one image lies among clean paths.

    All but `parts` is about the path, by the activations along it, and not about the whole score:
    what copies change and how sure the network is are no part of it, nor is what trees learnt from
    attacks.

    Args:
        distance: How far the path lies from clean paths of the predicted class, in standard
            deviations summed over the layers: the contributions of all gates add up to it. None
            where it is not told.
        layers: The layers that add most to it, most first.
        gates: The gates that add most to it, most first; empty where they are not told.
        rival: The class that the path fits best instead.
        neighbours: The clean training images with the most similar paths, nearest first.
        parts: What the score is the sum of, largest first; empty where trees made it.
    """

    distance: float | None
    layers: tuple[ExplainedLayer, ...]
    gates: tuple[ExplainedGate, ...]
    rival: Rival
    neighbours: tuple[NearImage, ...]
    parts: tuple[ScorePart, ...] = ()
