"""Whether extraction that is killed ends with the table, and the bundle, of an undisturbed run."""

from __future__ import annotations

import tempfile
from pathlib import Path

from detector.bundle import DEFAULT_BUNDLE
from detector.bundle.folder import NETWORK
from detector.jobs.calibrate import CalibrateOptions, calibrate
from tests.figures.bench import Bench
from tests.figures.figure import Figure
from tests.figures.image_folders import write_images
from tests.figures.killed import Extraction, files_of, run_killed

__all__ = ["extract_kills"]

_KILLS = 20
_A_CLASS = {"train": 1, "fit": 10, "calibration": 20, "test": 1}
_OPTIONS = ("--split", "fit", "--split", "calibration", "--attack", "fgsm:8/255", "--copy", "flip")
_SIZES = ("--shard-size", "15", "--batch-size", "15", "--device", "cpu")
"""21 shards of images, as many of copies, and as many again of both attacked: 84 files."""
_ALPHA = 0.3
"""So few images of a class, ten at least, promise no less."""


def extract_kills(bench: Bench) -> list[Figure]:
    """SIGKILL at twenty random points of one table, then calibration of it and of another one."""
    with tempfile.TemporaryDirectory(prefix="offpath-figures-") as name:
        folder = Path(name)
        write_images(bench, folder / "data", _A_CLASS)
        network = DEFAULT_BUNDLE / NETWORK
        extraction = Extraction(data=folder / "data", network=network, options=[*_OPTIONS, *_SIZES])
        extraction.run(folder / "undisturbed")
        killed = run_killed(extraction, folder / "killed", kills=_KILLS)
        expected, found = (files_of(folder / each) for each in ("undisturbed", "killed"))
        differing = {each for each in expected | found if expected.get(each) != found.get(each)}
        bundles = [
            calibrate(
                CalibrateOptions(
                    table=folder / each,
                    network=network,
                    output=folder / f"{each}-bundle",
                    alpha=_ALPHA,
                    folds=0,
                )
            ).manifest.files
            for each in ("undisturbed", "killed")
        ]
    same = bundles[0] == bundles[1]
    return [
        Figure(
            name=f"extract after kill -9 at {_KILLS} random points",
            target="the same table and bundle",
            measured=f"{len(differing)} of {len(expected)} files differ after {killed} kills; "
            f"{'the same' if same else 'another'} bundle",
            holds=not differing and same and killed == _KILLS,
        )
    ]
