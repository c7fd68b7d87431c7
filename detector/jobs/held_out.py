"""Whether images that are held out now were held out in training as well."""

from __future__ import annotations

from collections.abc import Iterable

from detector.data import Splits
from detector.errors import DataError
from detector.path_table import SplitName
from detector.weights import NetworkInfo

__all__ = ["check_held_out"]


def check_held_out(info: NetworkInfo, splits: Splits, wanted: Iterable[SplitName]) -> None:
    """Refuse to calibrate on images that the network may have been trained on.

    Calibration images that are held out of the training images depend on how many there are: one
    image more, and others take their places. A promise that rests on images which the network
    knows by heart is none. Images of a split of their own are taken as they are.

    Args:
        info: What the network is; networks that do not say what they were trained on are taken.
        splits: The data set.
        wanted: Which splits are looked at.

    Raises:
        DataError: If calibration images are asked for and held out of other training images than
            those that the network was trained on.
    """
    trained_on = info.provenance.get("data")
    apart = splits.calibration.source is not splits.train.source
    if trained_on is None or apart or SplitName.CALIBRATION not in wanted:
        return
    if splits.train.digest() != trained_on:
        raise DataError(
            "The training images should be those that the network was trained on, for images that "
            "are held out of them now were held out then too. Found others, added, removed or "
            "changed since. Restore them and put new images into calibration/, train again, or "
            "give the data set that this network was trained on."
        )
