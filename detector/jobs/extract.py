"""Extract: clean and attacked images of some splits to a path table. Stopped, it continues."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from detector.attacks import AttackSpec, StrongestOf
from detector.copies import parse_copy
from detector.data import Splits
from detector.decoupling import DecoupledNetwork
from detector.jobs.engines import Engine, LocalEngine
from detector.jobs.extract_options import ExtractOptions
from detector.jobs.extract_plan import planned_table
from detector.jobs.image_order import ImageOrder
from detector.jobs.observer import Observer
from detector.jobs.progress import Progress
from detector.jobs.shard_work import Shard, ShardWork, Unfinished
from detector.jobs.surrogate import Surrogate
from detector.path_table import CLEAN, PathTable, at_once, files_there, sole_writer_of

__all__ = ["ExtractOptions", "extract"]


def extract(
    network: DecoupledNetwork,
    splits: Splits,
    options: ExtractOptions,
    *,
    strongest: StrongestOf | None = None,
    surrogate: Surrogate | None = None,
    engine: Engine | None = None,
) -> PathTable:
    """Write what the network does with clean and attacked images, shard by shard.

    Shards that are there already are checked and skipped. Each shard depends on nothing but its
    own images and the seed, so that a run that was stopped and continued writes the same bytes.
    Memory does not grow with the number of images; it holds one shard and its copies.

    Attacked images are not kept: copies that are added to a table later cost the attack once more,
    and only if it gives the images again that the table is about are their copies put beside them.

    Args:
        network: The network, in any mode; it is left as it came, on the device of the options.
        splits: The data set, with its preprocessing.
        options: What to extract, and how.
        strongest: How attacks pass the gates; by default the strongest of the three ways.
        surrogate: Another network on which the attack images are made; the network itself by
            default. The table names it in the label of each attack of this run.
        engine: Where shards are made; here by default. The table is the same, bit for bit, on
            machines of the same kind.

    Returns:
        The table.

    Raises:
        InvalidInputError: If there is a surrogate and no attack.
        DataError: If the network, the surrogate and the data set do not fit, an image cannot be
            read, a shard that is there was made from something else, or its attacked images cannot
            be made again for copies of them.
        StorageError: If a shard cannot be written, those before it are kept; or if another job
            writes to the same table.
        AttackError: If an attack broke a property that it has to keep.
        EngineError: If the engine is lost; what was finished is kept.
    """
    with sole_writer_of(options.output):
        network.to(options.device)
        if surrogate is not None:
            surrogate.check_fits(network, splits)
            surrogate.network.to(options.device)
        work = _planned(network, splits, options, strongest or StrongestOf(), surrogate)
        _make(work, engine or LocalEngine())
    return PathTable(options.output)


def _planned(
    network: DecoupledNetwork,
    splits: Splits,
    options: ExtractOptions,
    strongest: StrongestOf,
    surrogate: Surrogate | None,
) -> ShardWork:
    """All that there is to make, be it there already or not."""
    attacks = options.attacks if surrogate is None else surrogate.named_in(options.attacks)
    specs: dict[str, AttackSpec | None] = {CLEAN: None}
    specs.update({spec.label: spec for spec in attacks})
    sources = {name: ImageOrder.of(splits, name, options.limit) for name in options.splits}
    through = surrogate.digest if surrogate else None
    made_on = {label: through if spec else None for label, spec in specs.items()}
    info = planned_table(network, splits, options, sources, made_on)
    observer = Observer(
        network=network,
        surrogate=None if surrogate is None else surrogate.network,
        preprocessing=splits.preprocessing,
        attacker=strongest if surrogate is None else surrogate.attacker(strongest),
        copies={name: parse_copy(name) for part in info.parts for name in part.copies},
        device=options.device,
    )
    return ShardWork(
        observer=observer,
        info=info,
        folder=options.output,
        sources=sources,
        specs=specs,
        batch_size=options.batch_size,
        seed=options.seed,
    )


def _make(work: ShardWork, engine: Engine) -> None:
    """Make what is not there."""
    shards = list(work.shards())
    unfinished = _unfinished(work, shards)
    work.info.write(work.folder)
    total = sum(len(shard.rows) for shard in shards)
    done = total - sum(len(each.shard.rows) for each in unfinished)
    observer = replace(work.observer, device=engine.device or work.observer.device)
    with Progress.shown("extract", total, done=done) as progress:
        for _ in engine.completed(replace(work, observer=observer), unfinished, progress.advance):
            pass


def _unfinished(work: ShardWork, shards: list[Shard]) -> list[Unfinished]:
    """What is not there of some shards."""
    names = [file.name for shard in shards for file in shard.files.values()]
    there = files_there(work.folder, names)
    with ThreadPoolExecutor(at_once(work.folder)) as pool:
        found = pool.map(lambda shard: work.unfinished(shard, there), shards)
        return [each for each in found if each]
