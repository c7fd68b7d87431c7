"""What is measured after each epoch of training, on the fit split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from detector.data import FitImages
from detector.decoupling import Adversaries
from detector.jobs.adversaries import attacked_accuracy
from detector.jobs.gate_statistics import gate_statistics
from detector.jobs.objectives import DecoupledObjective, Objective
from detector.jobs.training_log import TrainingLog
from detector.preprocessing import Preprocessing

__all__ = ["EpochReport"]

_EVALUATION_BATCH = 250


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochReport:
    """Writes how the network of one phase stands after an epoch.

    Args:
        phase: Which phase.
        log: Where to.
        images: What the network is measured on.
        preprocessing: How they become the network's input.
        device: Where the network is.
        adversaries: What the phase is trained on; accuracy on attacked images is measured as well
            then. None for clean images.
    """

    phase: str
    log: TrainingLog
    images: FitImages
    preprocessing: Preprocessing
    device: torch.device
    adversaries: Adversaries | None = None

    def __call__(self, epoch: int, objective: Objective, losses: dict[str, float]) -> None:
        """Measure and write.

        Args:
            epoch: Epochs that are done.
            objective: The objective as it stands.
            losses: Mean losses of the epoch, by name.
        """
        attacked = self._attacked(objective.network)
        if not isinstance(objective, DecoupledObjective):
            accuracy = _accuracy(objective.network, self._batches())
            self.log.add(self.phase, epoch, {"accuracy": accuracy, **attacked, **losses}, [])
            return
        found = gate_statistics(objective.network, objective.loss, self._batches())
        layers = [asdict(layer) for layer in found.layers]
        shares = sum(layer.open_share for layer in found.layers) / len(layers)
        values = {"accuracy": found.accuracy, **attacked, "open_share": shares, **losses}
        self.log.add(self.phase, epoch, values, layers)

    def _attacked(self, network: nn.Module) -> dict[str, float]:
        if self.adversaries is None:
            return {}
        found = attacked_accuracy(
            network, self.images, self.preprocessing, self.adversaries, self.device
        )
        return {"attacked_accuracy": found}

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        labels = torch.from_numpy(self.images.labels)
        for start in range(0, len(self.images), _EVALUATION_BATCH):
            rows = range(start, min(start + _EVALUATION_BATCH, len(self.images)))
            pixels = self.preprocessing(self.images.read(rows, self.preprocessing).to(self.device))
            yield pixels, labels[rows.start : rows.stop].to(self.device)


@torch.no_grad()
def _accuracy(network: nn.Module, batches: Iterator[tuple[Tensor, Tensor]]) -> float:
    was_training = network.training
    network.eval()
    images, correct = 0, 0
    for pixels, labels in batches:
        images += len(labels)
        correct += int((network(pixels).argmax(dim=1) == labels).sum())
    network.train(was_training)
    return correct / images
