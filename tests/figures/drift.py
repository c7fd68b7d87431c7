"""Whether drift is found, and neither chance nor attacks are taken for it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from detector.attacks import AttackSpec, attack_images
from detector.conformal import ConformalTable, Promise
from detector.corruptions import parse_corruption
from detector.drift import DriftMonitor
from detector.pipeline import Findings
from service.drift import DriftWatch
from service.settings import Settings
from tests.figures.bench import Bench
from tests.figures.figure import Figure

__all__ = ["drift"]

_SIMULATED = 1_000_000
_CALIBRATIONS = 10
_CLEAN = 1000
_DRIFTED = 2000
_BURST = 200
_PRINCIPALS, _ATTACKERS = 50, 3
_BATCH = 250
_FOUND = ("brightness:5", "defocus-blur:5")
_MILDER = ("brightness:3", "defocus-blur:3")
_ATTACKS = ("pgd:8/255", "pgd:2/255", "fgsm:8/255")

_Shown = tuple[Findings, list[int]]
"""A batch's findings, and digests of its images."""


def drift(bench: Bench) -> list[Figure]:
    """A million clean scores three times over, changes of all traffic, and bursts of attacks."""
    pixels = bench.pixels(bench.splits.test, 2 * _CLEAN + _DRIFTED)
    before = _findings(bench, pixels[:_CLEAN])
    after = _findings(bench, pixels[_CLEAN : 2 * _CLEAN])
    return [
        _simulated(bench, calibrations=1),
        _simulated(bench, calibrations=_CALIBRATIONS),
        _real(bench),
        *(_drifted(bench, name, before, pixels[-_DRIFTED:]) for name in _FOUND + _MILDER),
        *(_attacked(bench, name, before, after) for name in _ATTACKS),
    ]


def _simulated(bench: Bench, *, calibrations: int) -> Figure:
    """As many draws of the calibration, each with its share of a million scores of the same law."""
    counts = bench.pipeline.conformal.counts
    labels = torch.repeat_interleave(torch.arange(len(counts)), counts)
    found = []
    for seed in range(calibrations):
        rng = np.random.default_rng(seed)
        scores = torch.as_tensor(rng.random(len(labels)))
        table = ConformalTable(scores, labels, len(counts), promise=Promise())
        count = _SIMULATED // calibrations
        stream = rng.random(count, dtype=np.float32), rng.integers(len(counts), size=count)
        found.append(_watched(bench, table, *stream, seed=seed))
    drawn = f"{calibrations} calibration{'s' if calibrations > 1 else ''} drawn"
    return _none_found(f"false drift alarms, simulated p-values, {drawn}", found)


def _real(bench: Bench) -> Figure:
    """Clean test images in random order, again and again, with the bundle's own calibration."""
    clean = bench.clean
    rows = np.random.default_rng(0).integers(len(clean.scores), size=_SIMULATED)
    stream = clean.scores[rows], clean.predicted[rows]
    found = [_watched(bench, bench.pipeline.conformal, *stream, seed=0)]
    return _none_found("false drift alarms, draws of clean test images", found)


def _watched(
    bench: Bench, table: ConformalTable, scores: np.ndarray, predicted: np.ndarray, *, seed: int
) -> DriftMonitor:
    monitor = DriftMonitor(
        {"standard": table}, alpha=bench.pipeline.alpha, delta=Settings().drift_delta, seed=seed
    )
    for score, label in zip(scores.tolist(), predicted.tolist(), strict=True):
        monitor.observe("standard", score, label)
    return monitor


def _none_found(name: str, found: list[DriftMonitor]) -> Figure:
    alarms = sum(each.alarm for each in found)
    most = max(each.log_martingale for each in found)
    return Figure(
        name=name,
        target=f"0 in {_SIMULATED:,}",
        measured=f"{alarms}; log martingale {most:.1f} at most, alarm at "
        f"{found[0].log_threshold:.1f}",
        holds=not alarms,
    )


def _drifted(bench: Bench, name: str, before: list[_Shown], pixels: Tensor) -> Figure:
    """After clean traffic of many principals all images change; at which of them it is noticed."""
    watch = _watch(bench)
    _show(watch, before, _many())
    changed = _findings(bench, parse_corruption(name)(pixels))
    found = _show(watch, changed, _many())
    flagged = np.mean([p <= bench.pipeline.alpha for each, _ in changed for p in each.p_values])
    moved = max(map(watch.layer_ratio, range(len(watch.layers))))
    wanted = name in _FOUND
    return Figure(
        name=f"drift found, {name}: images",
        target=f"<= {_DRIFTED:,}" if wanted else "",
        measured=f"{found or 'not found in ' + str(len(pixels))}; p-value <= "
        f"{bench.pipeline.alpha:g} for {flagged:.1%}; a layer moved by {moved:.3f}",
        holds=found is not None if wanted else None,
    )


def _attacked(bench: Bench, name: str, before: list[_Shown], after: list[_Shown]) -> Figure:
    """Between clean traffic of many principals, a burst of attacked images by a few."""
    watch = _watch(bench)
    test = bench.splits.test
    attacked = attack_images(
        bench.pipeline.network,
        bench.pipeline.preprocessing,
        bench.pixels(test, _BURST),
        torch.from_numpy(test.labels[:_BURST]),
        AttackSpec.parse(name).build(),
    ).images
    burst = _findings(bench, attacked)
    attackers = (f"attacker {number % _ATTACKERS}" for number in range(_BURST))
    parts = ((before, _many()), (burst, attackers), (after, _many()))
    found = [_show(watch, findings, senders) for findings, senders in parts]
    alarm = any(each is not None for each in found)
    return Figure(
        name=f"burst of {_BURST} {name} by {_ATTACKERS} principals taken for drift",
        target="no",
        measured=f"{'yes' if alarm else 'no'}; log martingale {watch.log_martingale:.1f} at most, "
        f"alarm at {-math.log(Settings().drift_delta):.1f}",
        holds=not alarm,
    )


def _watch(bench: Bench) -> DriftWatch:
    settings = Settings()
    return DriftWatch(
        bench.pipeline,
        delta=settings.drift_delta,
        share=settings.drift_principal_share,
        counted=lambda: None,
    )


def _many() -> Iterator[str]:
    """Who sends one image after the other, of many principals."""
    rng = np.random.default_rng(0)
    while True:
        yield f"principal {rng.integers(_PRINCIPALS)}"


def _findings(bench: Bench, pixels: Tensor) -> list[_Shown]:
    return [
        (bench.pipeline.analyse(batch), [hash(each.numpy().tobytes()) for each in batch])
        for batch in pixels.split(_BATCH)
    ]


def _show(watch: DriftWatch, findings: list[_Shown], senders: Iterable[str]) -> int | None:
    """Lets a watch look at images; the number of the one at which it raised its alarm."""
    rows = ((batch, row, each) for batch, seen in findings for row, each in enumerate(seen))
    before = watch.alarm
    found = None
    for number, (sender, shown) in enumerate(zip(senders, rows, strict=False), start=1):
        batch, row, digest = shown
        watch.see(sender, batch, row, digest=digest, in_campaign=False)
        if watch.alarm and not before and found is None:
            found = number
    return found
