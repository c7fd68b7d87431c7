"""What a plan is reckoned from: passes are counted, not believed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from deploy.planning.sample import draw_photos, seconds_to_extract
from deploy.planning.units import Passes, Seconds, passes_of, seconds_of
from detector.attacks import AttackSpec
from detector.decoupling import DecoupledNetwork
from detector.decoupling.backbones import CifarResNet
from detector.path_table import PathTable, SplitName
from detector.preprocessing import Preprocessing

SIDE = Preprocessing(height=8, width=8, shorter_side=8, mean=(0.5,) * 3, std=(0.25,) * 3)
WAYS = 3


@pytest.fixture
def network() -> DecoupledNetwork:
    torch.manual_seed(0)
    return DecoupledNetwork(CifarResNet(1, 4, widths=(4, 4, 4))).eval()


@pytest.mark.parametrize(("attack", "steps"), [("fgsm:8/255", 1), ("pgd:8/255,steps=7", 7)])
def test_each_step_is_a_gradient_in_each_way_through_the_gates(
    network: DecoupledNetwork, attack: str, steps: int
) -> None:
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    found = passes_of(network, SIDE, images, torch.arange(5) % 4, AttackSpec.parse(attack))
    # Forward: before the attack, after it in each way, and the look at what came out.
    assert found == Passes(forward=1 + WAYS + 1, gradient=WAYS * steps)
    assert not network._forward_pre_hooks


def test_passes_cost_what_was_measured(network: DecoupledNetwork) -> None:
    assert Seconds(forward=2, gradient=5).of(Passes(forward=3, gradient=10)) == 56
    found = seconds_of(network, torch.zeros(4, 3, 8, 8))
    assert min(found.forward, found.gradient) > 0


def test_the_sample_is_extracted_from_files(network: DecoupledNetwork, tmp_path: Path) -> None:
    data = draw_photos(tmp_path, classes=4, images=12)
    more = {"attacks": (AttackSpec.parse("fgsm:8/255"),), "batch_size": 4, "device": "cpu"}
    assert seconds_to_extract(network, data, SIDE, tmp_path / "table", limit=8, **more) > 0
    assert [part.rows for part in PathTable(tmp_path / "table").parts] == [8, 8]
    assert len(PathTable(tmp_path / "table").read(SplitName.TEST, "fgsm:8/255")) == 8
