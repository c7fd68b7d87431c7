"""Whether traffic still is what was calibrated on, told apart from attacks.

An attack moves few images far: into the share that is flagged anyway. Drift moves the whole body of
the scores. So only images that are not flagged are looked at, and of them only where they lie among
the calibration images of their predicted class.

`DriftMonitor` holds the evidence against "nothing has changed", one `TestMartingale` a level;
`LayerShift` says which layers of the path moved, and raises no alarm.
"""

from detector.drift.layer_shift import LayerShift
from detector.drift.martingale import TestMartingale
from detector.drift.monitor import DriftMonitor
from detector.drift.urn import Urn

__all__ = ["DriftMonitor", "LayerShift", "TestMartingale", "Urn"]
