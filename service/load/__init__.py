"""A load generator: a closed loop of callers, or calls at a rate; never loads torch."""

from service.load.plan import ClosedLoop, LoadPlan, OpenLoop
from service.load.report import LoadReport
from service.load.run import load_report, run_load

__all__ = ["ClosedLoop", "LoadPlan", "LoadReport", "OpenLoop", "load_report", "run_load"]
