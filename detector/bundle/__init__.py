"""Bundles: a network, a fitted detector and their calibration, in one folder without any code."""

from detector.bundle.bundle import DEFAULT_BUNDLE, Bundle, load_bundle, save_bundle
from detector.bundle.folder import MODEL_CARD
from detector.bundle.manifest import SCHEMA_VERSION, BundleManifest
from detector.bundle.skipping import skip_where_it_pays

__all__ = [
    "DEFAULT_BUNDLE",
    "MODEL_CARD",
    "SCHEMA_VERSION",
    "Bundle",
    "BundleManifest",
    "load_bundle",
    "save_bundle",
    "skip_where_it_pays",
]
