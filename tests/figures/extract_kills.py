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
from tests.figures.killed import Extraction, files_of, run_killed, run_on_ray_killed
from tests.ray_cluster import environment

__all__ = ["extract_kills"]

_KILLS = 20
_A_CLASS = {"train": 1, "fit": 10, "calibration": 20, "test": 1}
_OPTIONS = ("--split", "fit", "--split", "calibration", "--attack", "fgsm:8/255", "--copy", "flip")
_SIZES = ("--shard-size", "15", "--batch-size", "15", "--device", "cpu")
"""21 shards of images, as many of copies, and as many again of both attacked: 84 files."""
_ALPHA = 0.3
"""So few images of a class, ten at least, promise no less."""


def extract_kills(bench: Bench) -> list[Figure]:
    """SIGKILL at twenty points of one table and of a Ray worker at another; then calibration."""
    with tempfile.TemporaryDirectory(prefix="offpath-figures-") as name:
        folder = Path(name)
        write_images(bench, folder / "data", _A_CLASS)
        extraction = Extraction(
            data=folder / "data",
            network=DEFAULT_BUNDLE / NETWORK,
            options=[*_OPTIONS, *_SIZES],
            environment=environment(),
        )
        undisturbed, here, on_ray = (folder / each for each in ("undisturbed", "here", "on-ray"))
        extraction.run(undisturbed)
        killed = run_killed(extraction, here, kills=_KILLS)
        lost = run_on_ray_killed(extraction, on_ray)
        return [
            _figure(
                f"extract after kill -9 at {_KILLS} random points",
                undisturbed,
                here,
                found=f"{killed} kills",
                as_planned=killed == _KILLS,
            ),
            _figure(
                "extract on Ray after kill -9 of one of two workers",
                undisturbed,
                on_ray,
                found=f"a worker lost at {lost} files",
                as_planned=lost < len(files_of(undisturbed)),
            ),
        ]


def _figure(
    name: str, undisturbed: Path, disturbed: Path, *, found: str, as_planned: bool
) -> Figure:
    """Two tables, file by file, and their bundles."""
    expected, files = files_of(undisturbed), files_of(disturbed)
    differing = {each for each in expected | files if expected.get(each) != files.get(each)}
    same = _bundle_of(undisturbed) == _bundle_of(disturbed)
    return Figure(
        name=name,
        target="the same table and bundle",
        measured=f"{len(differing)} of {len(expected)} files differ after {found}; "
        f"{'the same' if same else 'another'} bundle",
        holds=not differing and same and as_planned,
    )


def _bundle_of(table: Path) -> dict[str, str]:
    """Digest of each file of a bundle that is calibrated on a table."""
    with tempfile.TemporaryDirectory(prefix="offpath-figures-") as output:
        options = CalibrateOptions(
            table=table,
            network=DEFAULT_BUNDLE / NETWORK,
            output=Path(output) / "bundle",
            alpha=_ALPHA,
            folds=0,
        )
        return dict(calibrate(options).manifest.files)
