"""From the server's engines to messages of offpath.admin.v1."""

from __future__ import annotations

from offpath.admin.v1 import admin_pb2 as pb

from service import codec
from service.engine import Engine
from service.engines import Engines, Place
from service.shadow import ShadowReport

__all__ = ["encode_loaded"]

_PLACES = {
    Place.ACTIVE: pb.PLACE_ACTIVE,
    Place.STANDBY: pb.PLACE_STANDBY,
    Place.PREVIOUS: pb.PLACE_PREVIOUS,
}


def encode_loaded(engines: Engines) -> pb.Loaded:
    """Everything that is loaded, as a message."""
    return pb.Loaded(
        bundles=[_encode_engine(place, engine) for place, engine in engines.loaded()],
        shadow=_encode_report(engines.shadow.report),
    )


def _encode_engine(place: Place, engine: Engine) -> pb.LoadedBundle:
    manifest = engine.bundle.manifest
    return pb.LoadedBundle(
        digest=engine.digest,
        place=_PLACES[place],
        created=manifest.created,
        backbone=manifest.backbone.value,
        alpha=manifest.alpha,
        pending_images=engine.observer.images,
        drift_found=codec.encode_drift(engine.drift_report).found,
    )


def _encode_report(report: ShadowReport) -> pb.ShadowReport:
    return pb.ShadowReport(
        share=report.share,
        calls=report.calls,
        dropped_calls=report.dropped_calls,
        failed_calls=report.failed_calls,
        images=report.images,
        class_disagreements=report.class_disagreements,
        verdict_disagreements=report.verdict_disagreements,
        mean_p_value_difference=report.mean_p_value_difference,
    )
