"""Lines of the log: for people, or one JSON object each."""

from __future__ import annotations

import json
import logging
import warnings
from datetime import UTC, datetime
from enum import StrEnum

from service.security.call_record import CallRecord

__all__ = ["JsonFormatter", "LogFormat", "LogLevel", "configure_logging"]

_OUR_PACKAGES = ("service", "detector")
_TEXT = "%(asctime)s %(levelname)s %(message)s"


class LogFormat(StrEnum):
    """How the log is written."""

    TEXT = "text"
    """Lines for people."""
    JSON = "json"
    """One JSON object a line, for programs."""


class LogLevel(StrEnum):
    """What is worth a line."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class JsonFormatter(logging.Formatter):
    """One JSON object for each line: time, level and event first, then what the event is about."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, ASCII without line ends, whatever stands in it."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
        }
        if isinstance(record.msg, CallRecord):
            line["event"] = "call"
            line.update(record.msg.fields())
        else:
            line["event"] = "message"
            line["logger"] = record.name
            line["message"] = record.getMessage()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure_logging(log_format: LogFormat, level: LogLevel) -> None:
    """Write the log of this process to its standard error.

    Args:
        log_format: How.
        level: What is worth a line; of other libraries nothing below ``info``, as those that
            decode images tell what they find in them, and no warnings of those at all.
    """
    _leave_out_what_no_line_tells()
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonFormatter() if log_format is LogFormat.JSON else logging.Formatter(_TEXT)
    )
    wanted = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=max(wanted, logging.INFO), handlers=[handler])
    for package in _OUR_PACKAGES:
        logging.getLogger(package).setLevel(wanted)
    # Pillow warns of odd tags in files. Python writes, and keeps for ever, each text that is new,
    # and callers can make as many as they like.
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _leave_out_what_no_line_tells() -> None:
    """Spare each line the search for the code, thread and process that it comes from.

    Reference:
        Python's "Logging HOWTO", section "Optimization".
    """
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
