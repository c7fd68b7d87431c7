"""What a path table should hold after a run of extract."""

from __future__ import annotations

from dataclasses import replace

import torch

from detector.attacks import attackable
from detector.data import Splits
from detector.decoupling import DecoupledNetwork, DecoupledOutput
from detector.errors import DataError
from detector.fingerprints import network_digest
from detector.jobs.extract_options import ExtractOptions
from detector.jobs.image_order import ImageOrder
from detector.path_table import Part, SplitName, TableInfo

__all__ = ["planned_table"]


def planned_table(
    network: DecoupledNetwork,
    splits: Splits,
    options: ExtractOptions,
    sources: dict[SplitName, ImageOrder],
    made_on: dict[str, str | None],
) -> TableInfo:
    """The table as it will be: what is in the folder already and what this run adds.

    Copies that a part has already stay with it: where a run makes new rows of the part, it makes
    their copies too, or what the table promises would never be whole.

    Args:
        network: The network, on the device of the options.
        splits: The data set, with its preprocessing.
        options: What to extract, and how.
        sources: The images of each split of this run.
        made_on: The labels of this run, with the digest of the surrogate that their images are
            made on.

    Raises:
        DataError: If network, data set and the table that is there do not fit.
    """
    _check_classes(network, splits, options)
    copies = tuple(dict.fromkeys(copy.name for copy in options.copies))
    added = {
        (split, label): Part(
            split=split, attack=label, rows=source.asked, surrogate=digest, copies=copies
        )
        for split, source in sources.items()
        for label, digest in made_on.items()
    }
    info = TableInfo(
        network=network_digest(network),
        preprocessing=splits.preprocessing,
        layout=network.layout,
        class_names=splits.class_names,
        shard_size=options.shard_size,
        parts=tuple(added.values()),
    )
    if not TableInfo.is_in(options.output):
        return info
    before = TableInfo.read(options.output)
    before.check_same_source(info, options.output)
    parts = {(part.split, part.attack): part for part in before.parts}
    for key, part in added.items():
        there = parts.get(key, part)
        images = len(sources[part.split].order)
        if there.rows > images:
            raise DataError(
                f"{options.output} should be a table of this data set, which has "
                f"{images} {part.split} images. Found a table of "
                f"{there.rows}. Give another output folder."
            )
        # A table never shrinks: its shards stay, and so does what it should hold.
        parts[key] = replace(
            part,
            rows=max(there.rows, part.rows),
            copies=tuple(dict.fromkeys(there.copies + part.copies)),
        )
    return replace(info, parts=tuple(parts.values()))


def _check_classes(network: DecoupledNetwork, splits: Splits, options: ExtractOptions) -> None:
    side = splits.preprocessing
    blank = torch.zeros(1, 3, side.height, side.width, device=options.device)
    with attackable(network), torch.no_grad():
        output: DecoupledOutput = network(blank)
    classes = output.class_logits.shape[1]
    if classes != len(splits.class_names):
        raise DataError(
            f"The data set should have {classes} classes, as many as the network. "
            f"Found {len(splits.class_names)}. Give the data set that the network was trained on."
        )
