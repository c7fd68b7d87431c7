"""How much each layer's gates know of the class, by what a linear probe reads off them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from detector.errors import DataError
from detector.jobs.evaluation.estimates import Estimate, Share
from detector.jobs.interpretation.resamples import resample_weights
from detector.jobs.interpretation.sample import PathSample

__all__ = ["LayerProbe", "Probes", "probe_layers"]

_DRAWS = 1000
_STEPS = 300
_STRENGTH = 0.1
"""Inverse of the penalty on a probe's weights: a gate's weight has to pay for itself."""

_LOGIT_STRENGTH = 1.0
"""The same for a probe on gate logits, in which differences of a tenth of their spread count: with
.1 it found 82.0 % of the classes of 10 000 other train images, with 1 87.6 % and with 10 89.1 %, in
twice the steps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerProbe:
    r"""What a probe reads off a layer's gates.

    The probe q is a multinomial logistic regression on the bits, learnt from other images than
    those it is judged on. On these it bounds the mutual information of class and gates from below,

    .. math:: I(Y; Z) \ge H(Y) + E[\log q(y | z)],

    in nats. A bound below 0 says that there is nothing the probe can read.

    Args:
        layer: Name of the layer; ``whole path`` for all layers together, ``these layers together``
            where only some were looked at.
        gates: Number of its gates.
        paths: Number of different states that the gates are in, all together, on these images.
        accuracy: Share of images whose class the probe finds.
        at_most: Share that nothing can exceed that reads the same bits of the same images: it would
            know the most frequent class of each of these states. Next to 1 where nearly every image
            has a state of its own, and the tighter the fewer there are.
        from_logits: Share that a probe finds on the values of the gates before binarisation: what
            the modules that choose know, of which the bits keep a part.
        information: The bound, with a bootstrap interval over images, nats.
        control: Accuracy of a probe on shuffled labels, with an interval of 99.7 %: of as many
            layers as there are in a network, hardly one should miss chance.

    Reference:
        Barber and Agakov, "The IM Algorithm", 2003; Alain and Bengio, "Understanding intermediate
        layers using linear classifier probes", 2016; Hewitt and Liang, "Designing and Interpreting
        Probes with Control Tasks", 2019.
    """

    layer: str
    gates: int
    paths: int
    accuracy: Share
    at_most: float
    from_logits: Share
    information: Estimate
    control: Share


@dataclass(frozen=True, kw_only=True, slots=True)
class Probes:
    """All layers beside the network itself, on the same images.

    Args:
        network: Accuracy of the network.
        chance: Accuracy of whoever always says the most frequent class, in (0, 1).
        class_entropy: Entropy of the class, nats: no layer can know more.
        layers: Each layer, in the order of the network.
        path: All of them together.
    """

    network: Share
    chance: float
    class_entropy: float
    layers: tuple[LayerProbe, ...]
    path: LayerProbe


def probe_layers(
    learn: PathSample,
    check: PathSample,
    *,
    seed: int,
    done: Callable[[int], None],
    together: str = "whole path",
) -> Probes:
    """Probe each layer of a network.

    Args:
        learn: Images that probes are learnt from.
        check: Other images, which they are judged on.
        seed: Seed of shuffled labels and resamples.
        done: Told the number of images whenever a layer is done.
        together: What all layers of the samples together are called.

    Raises:
        DataError: If a class is missing among the images that probes are learnt from.
    """
    classes = len(learn.class_names)
    missing = sorted(set(range(classes)) - set(learn.labels.tolist()))
    if missing:
        raise DataError(
            f"Probes should be learnt from {learn.split} images of each class. Found none of "
            f"{', '.join(learn.class_names[label] for label in missing)}. Extract more images."
        )
    generator = np.random.default_rng(seed)
    prober = _Prober(learn, check, generator)
    layers = []
    for name, part in zip(learn.layout.names, learn.layout.slices, strict=True):
        layers.append(prober.probe(name, part))
        done(len(learn))
    path = prober.probe(together, slice(None))
    done(len(learn))
    shares = np.bincount(check.labels, minlength=classes) / len(check)
    return Probes(
        network=Share.of(int((check.predictions == check.labels).sum()), len(check)),
        chance=float(shares.max()),
        class_entropy=_entropy(shares),
        layers=tuple(layers),
        path=path,
    )


class _Prober:
    """Learns and judges probes; all of them with the same shuffled labels and resamples."""

    def __init__(
        self, learn: PathSample, check: PathSample, generator: np.random.Generator
    ) -> None:
        self._learn, self._check = learn, check
        # Judged on shuffled labels too: against true ones, images that fall into one cell together
        # would hit or miss together, and no interval over images would hold.
        self._shuffled = generator.permutation(learn.labels), generator.permutation(check.labels)
        self._prior = np.bincount(check.labels, minlength=len(check.class_names)) / len(check)
        self._draws = resample_weights(len(check), _DRAWS, generator)

    def probe(self, name: str, part: slice) -> LayerProbe:
        learn, check = (2.0 * each.bits[:, part] - 1.0 for each in (self._learn, self._check))
        labels = self._check.labels
        chances = _fitted(learn, check, self._learn.labels)
        of_label = chances[np.arange(len(labels)), labels]
        known = np.log(np.maximum(of_label, 1e-12)) - np.log(self._prior[labels])  # (N,)
        low, high = np.quantile(self._draws @ known, [0.025, 0.975])
        guesses = _fitted(learn, check, self._shuffled[0]).argmax(axis=1)
        paths, most = _best_reading(self._check.bits[:, part], labels)
        return LayerProbe(
            layer=name,
            gates=learn.shape[1],
            paths=paths,
            accuracy=_found(chances, labels),
            at_most=most / len(labels),
            from_logits=_found(self._read_logits(part), labels),
            information=Estimate(value=float(known.mean()), low=float(low), high=float(high)),
            control=Share.of(
                int((guesses == self._shuffled[1]).sum()), len(labels), confidence=0.997
            ),
        )

    def _read_logits(self, part: slice) -> NDArray[np.float64]:
        learn, check = (
            each.logits[:, part].astype(np.float64) for each in (self._learn, self._check)
        )
        mean, spread = learn.mean(axis=0), learn.std(axis=0) + 1e-6
        return _fitted(
            (learn - mean) / spread,
            (check - mean) / spread,
            self._learn.labels,
            strength=_LOGIT_STRENGTH,
        )


def _fitted(
    learn: NDArray[np.floating[Any]],
    check: NDArray[np.floating[Any]],
    labels: NDArray[np.int64],
    *,
    strength: float = _STRENGTH,
) -> NDArray[np.float64]:
    """Probability of each class for images to check, (N, K).

    The solver takes far fewer steps where what it reads is centred: bits as -1 and 1.
    """
    probe = LogisticRegression(C=strength, max_iter=_STEPS, tol=1e-3)
    chances: NDArray[np.float64] = probe.fit(learn, labels).predict_proba(check)
    return chances


def _found(chances: NDArray[np.float64], labels: NDArray[np.int64]) -> Share:
    return Share.of(int((chances.argmax(axis=1) == labels).sum()), len(labels))


def _best_reading(bits: NDArray[np.bool_], labels: NDArray[np.int64]) -> tuple[int, int]:
    """How many different rows there are, and images that have the most frequent class of theirs."""
    _, row = np.unique(np.packbits(bits, axis=1), axis=0, return_inverse=True)
    counts = np.zeros((int(row.max()) + 1, int(labels.max()) + 1), dtype=np.int64)
    np.add.at(counts, (row.ravel(), labels), 1)
    return len(counts), int(counts.max(axis=1).sum())


def _entropy(shares: NDArray[np.float64]) -> float:
    present = shares[shares > 0]
    return float(-(present * np.log(present)).sum())
