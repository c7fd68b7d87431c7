"""The engine beyond one machine: Ray, which is optional."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
from typing_extensions import override

from detector.errors import EngineError, InvalidInputError, OffpathError
from detector.jobs.engines.base import Engine, Report, Work
from detector.jobs.engines.ray_cluster import abandon_tasks, connected_ray

__all__ = ["RayEngine"]

Item = TypeVar("Item")
Found = TypeVar("Found")

_RETRIES = 3
"""Of a piece whose process or machine is lost; one that ends its process four times will again."""
_AHEAD = 256
"""Pieces that are handed over at once: enough for a cluster to grow by, few enough to keep."""


class RayEngine(Engine):
    """Runs pieces as Ray tasks on the cluster that ``RAY_ADDRESS`` names.

    Tasks and not actors: a cluster may grow and shrink meanwhile, and what is lost with a machine
    is done on any other. The work, with its network, is sent once to each machine and kept by each
    process. A piece computes with as many threads as this process would (``OMP_NUM_THREADS``) and
    claims as many cores: with another number, sums can end in other bits.

    Args:
        device: ``cpu``, ``cuda`` for one GPU a piece, or ``auto`` for that where the cluster has
            GPUs.

    Raises:
        ModuleNotFoundError: If Ray is not installed.
        EngineError: If there is no cluster at the address.
        InvalidInputError: If none of its machines has what a piece needs.
    """

    def __init__(self, *, device: str = "auto") -> None:
        self._ray = connected_ray()
        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        self._device = _device(device, machines)
        self._threads = torch.get_num_threads()
        self._claim = (
            {"num_cpus": 1, "num_gpus": 1}
            if self._device == "cuda"
            else {"num_cpus": self._threads, "num_gpus": 0}
        )
        _require_room(self._claim["num_cpus"], machines)

    @property
    @override
    def device(self) -> str:
        return self._device

    @override
    def _completed(
        self, work: Work[Item, Found], pieces: Sequence[Item], report: Report
    ) -> Iterator[tuple[int, Found]]:
        connected_ray()
        # Without max_calls=0, Ray ends a process that had a GPU after each piece.
        task = self._ray.remote(max_retries=_RETRIES, max_calls=0, **self._claim)(_do)
        sent = self._ray.put(work)
        running: dict[Any, int] = {}
        waiting = iter(enumerate(pieces))
        try:
            while True:
                while len(running) < _AHEAD and (following := next(waiting, None)):
                    index, piece = following
                    # In a list, Ray hands over the reference and not, each time, the work.
                    running[task.remote([sent], piece, self._threads)] = index
                if not running:
                    return
                (done, *_), _ = self._ray.wait(list(running), num_returns=1)
                found, reports = self._result(done)
                for images, note in reports:
                    report(images, note)
                yield running.pop(done), found
        finally:
            if running:
                abandon_tasks()

    def _result(self, done: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(done)
        except errors.RayTaskError as error:
            if isinstance(error.cause, OffpathError):
                raise error.cause from None
            raise
        except errors.RayError as error:
            raise EngineError(
                f"Ray should run each piece of the work to its end. Found {type(error).__name__}, "
                f"{_RETRIES + 1} times: {str(error).strip().partition(chr(10))[0]} "
                "Give its machines more memory, or smaller batches, and run the same command "
                "again; what was finished is kept."
            ) from error


_kept: dict[str, Any] = {}
"""The work that this process of a cluster did last: loaded once, not for each piece."""


def _do(sent: list[Any], piece: Any, threads: int) -> tuple[Any, list[tuple[int, str]]]:
    """One piece, in a process of the cluster, with what there is to report of it."""
    ray = connected_ray()
    (reference,) = sent
    if reference.hex() not in _kept:
        _kept.clear()
        _kept[reference.hex()] = ray.get(reference)
    torch.set_num_threads(threads)
    reports: list[tuple[int, str]] = []
    found = _kept[reference.hex()](piece, lambda images, note: reports.append((images, note)))
    return found, reports


def _device(name: str, machines: list[dict[str, float]]) -> str:
    gpus = any(machine.get("GPU", 0) >= 1 for machine in machines)
    if name == "auto":
        return "cuda" if gpus else "cpu"
    if name not in {"cpu", "cuda"} or (name == "cuda" and not gpus):
        raise InvalidInputError(
            "device should be auto, cpu or, where a cluster has GPUs, cuda: which GPU is Ray's to "
            f"choose. Found {name!r}{'' if gpus else ' and no GPU'}. Choose another.",
            field="device",
        )
    return name


def _require_room(cpus: int, machines: list[dict[str, float]]) -> None:
    """Refuse pieces that no machine can run: Ray would wait for such a machine for ever."""
    most = max((machine.get("CPU", 0) for machine in machines), default=0)
    if most < cpus:
        raise InvalidInputError(
            f"The cluster should have machines with {cpus} cores for a piece, as many as this "
            f"command has threads. Found {most:g} at most. Set OMP_NUM_THREADS to fewer, 1 at "
            "best, or add machines.",
            field="engine",
        )
