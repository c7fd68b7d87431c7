"""Where the offline jobs run: on this machine, or on a Ray cluster."""

from detector.jobs.engines.base import Engine, Report, Work
from detector.jobs.engines.local import LocalEngine
from detector.jobs.engines.on_ray import RayEngine

__all__ = ["Engine", "LocalEngine", "RayEngine", "Report", "Work"]
