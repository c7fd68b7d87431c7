"""Interprets a network: what its layers know, which gates stand for what, and what they cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.data import Splits
from detector.decoupling import DecoupledNetwork
from detector.errors import DataError, InvalidInputError
from detector.fingerprints import network_digest
from detector.jobs.image_order import images_of
from detector.jobs.interpretation.causes import concept_causes
from detector.jobs.interpretation.class_distances import class_distances
from detector.jobs.interpretation.class_rates import class_rates, layer_gates
from detector.jobs.interpretation.closing import Closing, GateCloser
from detector.jobs.interpretation.combinations import Combination, find_combination
from detector.jobs.interpretation.concept_file import read_concepts
from detector.jobs.interpretation.concepts import Concept, concepts_of_classes, group
from detector.jobs.interpretation.dissection import PASSES, Dissection, dissect
from detector.jobs.interpretation.embedding import Embedding, embed_layers
from detector.jobs.interpretation.interpretation import Interpretation
from detector.jobs.interpretation.mask_file import MaskedImages, read_masks
from detector.jobs.interpretation.probes import Probes, probe_layers
from detector.jobs.interpretation.sample import PathSample, gates_of, read_sample
from detector.jobs.interpretation.sample_images import SampleImages
from detector.jobs.progress import Progress
from detector.path_table import PathTable, SplitName

__all__ = ["InterpretOptions", "interpret"]


@dataclass(frozen=True, kw_only=True, slots=True)
class InterpretOptions:
    """How a network is interpreted.

    Args:
        learn: Split of the images that probes and combinations are found with.
        check: Another split, which they are checked on.
        limit: Most images of each split that are looked at more than once; memory goes with it,
            not with the size of the table.
        layers: Names of the layers whose gates are probed, mapped and combined; none for all.
        most_gates: Gates of the largest combination.
        points: Most images of the maps; 0 draws none.
        closed_images: Most images with a concept, and without it, that see its gates closed; and as
            many to learn from, on which it is estimated what closing each gate would cost.
        draws: Random choices of gates that a concept's gates are compared with, at least 2.
        groups: More concepts, each a name and classes, as ``pet=cat,dog``.
        concepts: A file of more concepts, image by image, see `read_concepts`.
        masks: A file of where concepts are in images, see `read_masks`.
        seed: Fixes all that is random.
        quiet: Whether to show no progress.

    Raises:
        InvalidInputError: If a number is too small, or the two splits are one.
    """

    learn: SplitName = SplitName.TRAIN
    check: SplitName = SplitName.CALIBRATION
    limit: int = 20_000
    layers: tuple[str, ...] = ()
    most_gates: int = 12
    points: int = 500
    closed_images: int = 300
    draws: int = 20
    groups: tuple[str, ...] = ()
    concepts: Path | None = None
    masks: Path | None = None
    seed: int = 0
    quiet: bool = False

    def __post_init__(self) -> None:
        for name, least in (
            ("limit", 1),
            ("most_gates", 1),
            ("points", 0),
            ("closed_images", 1),
            ("draws", 2),
        ):
            if getattr(self, name) < least:
                raise InvalidInputError(
                    f"{name} should be at least {least}. Found {getattr(self, name)}.", field=name
                )
        if self.learn is self.check:
            raise InvalidInputError(
                "Combinations should be checked on another split than that they are found with. "
                f"Found {self.learn} for both. Choose two.",
                field="check",
            )


def interpret(
    table: PathTable,
    network: DecoupledNetwork,
    options: InterpretOptions,
    *,
    splits: Splits | None = None,
) -> Interpretation:
    """Interpret a network by the paths of clean images.

    Args:
        table: Its path table, with clean images of two splits.
        network: The network, in evaluation mode.
        options: How.
        splits: The data that the table was extracted from; without them no gates are closed, and
            combinations are found by what gates tell alone, not by what hangs on them.

    Raises:
        DataError: If table, network, data and concepts do not belong together.
        InvalidInputError: If a group names no classes, a layer does not exist, or there are masks
            and no data.
    """
    info = table.info
    if network_digest(network) != info.network:
        raise DataError(
            f"{table.folder} should be extracted with the network that is interpreted. "
            "Found another one's table. Give the network's own, or extract it."
        )
    gates = gates_of(options.layers, info.layout)
    concepts = _concepts(table, options)
    masked = _masked(options, splits)
    learn = read_sample(table, options.learn, limit=options.limit, seed=options.seed)
    check = read_sample(table, options.check, limit=options.limit, seed=options.seed)
    rates, shuffled = class_rates(table, options.learn, np.random.default_rng(options.seed))
    causes = None if splits is None else _causes(network, splits, learn, concepts, options)
    seen = learn.of_layers(options.layers), check.of_layers(options.layers)
    combinations = _combinations(
        concepts, *seen, None if causes is None else causes[:, gates], options
    )
    return Interpretation(
        network=info.network,
        class_names=info.class_names,
        learn_split=options.learn.value,
        learn_images=len(learn),
        check_split=options.check.value,
        check_images=len(check),
        rate_images=int(rates.counts.sum()),
        gates=layer_gates(rates),
        distances=class_distances(rates, shuffled),
        probes=_probes(*seen, options),
        embedding=_embedding(seen[1], options),
        combinations=combinations,
        closings=()
        if splits is None
        else _closings(network, splits, check, concepts, combinations, options),
        dissections=() if masked is None else _dissections(network, masked, options),
    )


def _concepts(table: PathTable, options: InterpretOptions) -> tuple[Concept, ...]:
    names = table.info.class_names
    found: list[Concept] = [*concepts_of_classes(names)]
    found += (group(text, names) for text in options.groups)
    if options.concepts is not None:
        found += read_concepts(options.concepts, table, (options.learn, options.check))
    named = [concept.name for concept in found]
    twice = next((name for name in named if named.count(name) > 1), None)
    if twice is not None:
        raise InvalidInputError(
            f"Each concept should have a name of its own. Found {twice!r} twice, where classes are "
            "concepts too. Rename one.",
            field="concepts",
        )
    return tuple(found)


def _masked(options: InterpretOptions, splits: Splits | None) -> MaskedImages | None:
    if options.masks is None:
        return None
    if splits is None:
        raise InvalidInputError(
            "Masks should come with the data that the table was extracted from. Found none. "
            "Give --data too, or leave out --masks.",
            field="masks",
        )
    return read_masks(options.masks, images_of(splits, options.check), splits.preprocessing)


def _probes(learn: PathSample, check: PathSample, options: InterpretOptions) -> Probes:
    total = (learn.layout.layers + 1) * len(learn)
    with Progress.shown("Probing layers", total, quiet=options.quiet) as progress:
        return probe_layers(
            learn,
            check,
            seed=options.seed,
            done=progress.advance,
            together="these layers together" if options.layers else "whole path",
        )


def _embedding(check: PathSample, options: InterpretOptions) -> Embedding:
    total = check.layout.layers * min(options.points, len(check))
    with Progress.shown("Drawing maps", total, quiet=options.quiet) as progress:
        return embed_layers(check, points=options.points, seed=options.seed, done=progress.advance)


def _causes(
    network: DecoupledNetwork,
    splits: Splits,
    learn: PathSample,
    concepts: Sequence[Concept],
    options: InterpretOptions,
) -> NDArray[np.float64]:
    images = SampleImages(learn, images_of(splits, options.learn), splits.preprocessing)
    total = min(len(concepts) * options.closed_images, len(learn))
    with Progress.shown("Looking for causes", total, quiet=options.quiet) as progress:
        return concept_causes(
            network,
            images,
            concepts,
            limit=options.closed_images,
            seed=options.seed,
            done=progress.advance,
        )


def _combinations(
    concepts: Sequence[Concept],
    learn: PathSample,
    check: PathSample,
    causes: NDArray[np.float64] | None,
    options: InterpretOptions,
) -> tuple[Combination, ...]:
    found = []
    total = len(concepts) * len(learn)
    with Progress.shown("Finding combinations", total, quiet=options.quiet) as progress:
        for place, concept in enumerate(concepts):
            found.append(
                find_combination(
                    concept,
                    learn,
                    check,
                    most_gates=options.most_gates,
                    seed=options.seed,
                    causes=None if causes is None else causes[place],
                )
            )
            progress.advance(len(learn), concept.name)
    return tuple(found)


def _closings(
    network: DecoupledNetwork,
    splits: Splits,
    check: PathSample,
    concepts: Sequence[Concept],
    combinations: Sequence[Combination],
    options: InterpretOptions,
) -> tuple[Closing, ...]:
    total = len(concepts) * options.closed_images * (4 + options.draws)
    with Progress.shown("Closing gates", total, quiet=options.quiet) as progress:
        closer = GateCloser(
            network,
            SampleImages(check, images_of(splits, options.check), splits.preprocessing),
            limit=options.closed_images,
            draws=options.draws,
            seed=options.seed,
            done=progress.advance,
        )
        found = [
            closer.close(concept, combination)
            for concept, combination in zip(concepts, combinations, strict=True)
        ]
    return tuple(closing for closing in found if closing is not None)


def _dissections(
    network: DecoupledNetwork, masked: MaskedImages, options: InterpretOptions
) -> tuple[Dissection, ...]:
    with Progress.shown("Dissecting", PASSES * len(masked), quiet=options.quiet) as progress:
        return dissect(
            network,
            masked,
            most_filters=options.most_gates,
            seed=options.seed,
            done=progress.advance,
        )
