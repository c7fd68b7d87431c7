"""A network's digest changes with its weights and with nothing else."""

from __future__ import annotations

import torch
from torch import nn

from detector.fingerprints import network_digest


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def test_mode_and_gradients_do_not_matter() -> None:
    changed = network().eval().requires_grad_(requires_grad=False)
    assert network_digest(changed) == network_digest(network())


def test_each_weight_and_statistic_matters() -> None:
    digests = {network_digest(network())}
    for name in network().state_dict():
        changed = network()
        tensor = changed.state_dict()[name]
        tensor += 1
        digests.add(network_digest(changed))
    assert len(digests) == len(network().state_dict()) + 1
