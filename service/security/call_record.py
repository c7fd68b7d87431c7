"""What the log tells of one call: who, what, how long; never an image, never a token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from urllib.parse import unquote

__all__ = ["CallRecord", "Stage", "current_call", "set_current_call"]

_MILLISECONDS = ("total", "decode", "queue", "analysis")


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Some of a call's time, for its trace.

    Args:
        name: ``decode``, ``queue`` or ``analysis``.
        began_s: When it began, on the monotonic clock, seconds.
        ended_s: When it ended, likewise.
        images: Number of images that it was about.
        parts: What it was made of, seconds by name.
        error: What it failed of, in one word; empty where it did not.
    """

    name: str
    began_s: float
    ended_s: float
    images: int
    parts: Mapping[str, float] = field(default_factory=dict)
    error: str = ""


@dataclass(kw_only=True, slots=True)
class CallRecord:
    """One call; filled in while it is answered.

    Args:
        method: The method's name.
        request_id: The call's name.
        peer: Address of the caller, as gRPC writes it.
        principal: The caller's name; empty where it has shown none that counts.
        code: The status that it got.
        reason: Why it failed, as ErrorInfo says; empty where it did not.
        images: Number of its images.
        level: The level that answered.
        verdicts: How many images got which verdict.
        total_s: Time from its arrival to its answer, seconds.
        decode_s: Time that decoding took, seconds; None where it did not come to that.
        queue_s: Longest time that one of its images waited for a batch, seconds.
        analysis_s: Longest time of a batch that its images were part of, seconds.
        stages: What its time went into; None where it is not traced.
        left_out: Calls turned away before it of which no line tells.
    """

    method: str
    request_id: str
    peer: str = ""
    principal: str = ""
    code: str = ""
    reason: str = ""
    images: int = 0
    level: str = ""
    verdicts: Counter[str] = field(default_factory=Counter)
    total_s: float | None = None
    decode_s: float | None = None
    queue_s: float | None = None
    analysis_s: float | None = None
    stages: list[Stage] | None = None
    left_out: int = 0

    def note(self, *stages: Stage) -> None:
        """Keep stages, if the call is traced."""
        if self.stages is not None:
            self.stages.extend(stages)

    def fields(self) -> dict[str, object]:
        """What is known, by name, for a line of JSON."""
        named: dict[str, object] = {
            "method": self.method,
            "code": self.code,
            "reason": self.reason,
            "principal": self.principal,
            "request_id": self.request_id,
            "peer": unquote(self.peer),
            "images": self.images,
            # A line has a level already, how grave it is.
            "detection_level": self.level,
            "verdicts": dict(self.verdicts),
        }
        for name in _MILLISECONDS:
            seconds = getattr(self, f"{name}_s")
            if seconds is not None:
                named[f"{name}_ms"] = round(1000 * seconds, 3)
        if self.left_out:
            named["left_out"] = self.left_out
        return {name: value for name, value in named.items() if value not in ("", {})}

    def __str__(self) -> str:
        """The same in one line for people."""
        named = self.fields()
        if self.verdicts:
            named["verdicts"] = ",".join(f"{name}:{n}" for name, n in self.verdicts.items())
        return " ".join(f"{name}={value}" for name, value in named.items())


_current: ContextVar[CallRecord | None] = ContextVar("call", default=None)


def current_call() -> CallRecord:
    """The call that is being answered; one that nobody reads outside of one."""
    return _current.get() or CallRecord(method="", request_id="")


def set_current_call(call: CallRecord) -> None:
    """Say which call this task answers from now on."""
    _current.set(call)
