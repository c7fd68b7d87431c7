"""No piece of work depends on where, when or in which order it is done."""

from __future__ import annotations

import dataclasses
import sys
from types import SimpleNamespace

import pytest

from detector.attacks import AttackSpec
from detector.copies import parse_copy
from detector.decoupling import DecoupledNetwork
from detector.decoupling.backbones import CifarResNet
from detector.errors import DataError, EngineError
from detector.jobs.calibrate import CalibrateOptions, calibrate
from detector.jobs.engines import LocalEngine, RayEngine
from detector.jobs.extract import extract
from detector.jobs.surrogate import Surrogate
from detector.path_table import SplitName, TableInfo
from detector.weights import save_weights

COPIES = ("flip", "shift:left")


def doubled(piece, report):
    report(1, f"piece {piece}")
    return 2 * piece


@pytest.mark.parametrize("elsewhere", [False, True])
def test_results_come_with_their_index_or_in_order(elsewhere, engine_elsewhere) -> None:
    engine = engine_elsewhere if elsewhere else LocalEngine()
    told = []
    found = dict(engine.completed(doubled, [5, 6, 7], lambda *what: told.append(what)))
    assert found == {0: 10, 1: 12, 2: 14}
    assert sorted(told) == [(1, "piece 5"), (1, "piece 6"), (1, "piece 7")]
    assert list(engine.in_order(doubled, [5, 6, 7])) == [10, 12, 14]
    assert list(engine.in_order(doubled, [])) == []


def test_a_table_is_the_same_wherever_its_shards_are_made(
    tiny_network, tiny_splits, tmp_path, options, contents, engine_elsewhere
) -> None:
    changes = {
        "splits": (SplitName.TEST, SplitName.FIT),
        "attacks": (AttackSpec.parse("pgd:8/255,steps=2"), AttackSpec.parse("noise-sign:8/255")),
        "copies": (parse_copy("flip"),),
    }
    for name, engine in (("here", None), ("elsewhere", engine_elsewhere)):
        extract(tiny_network, tiny_splits, options(tmp_path / name, **changes), engine=engine)
    assert contents(tmp_path / "elsewhere") == contents(tmp_path / "here")


def test_attacks_through_another_network_are_the_same_elsewhere(
    tiny_network, tiny_splits, tmp_path, options, contents, engine_elsewhere
) -> None:
    surrogate = Surrogate(
        network=DecoupledNetwork(CifarResNet(1, 4, widths=(4, 4, 4))).eval(),
        class_names=tiny_splits.class_names,
        preprocessing=tiny_splits.preprocessing,
    )
    for name, engine in (("here", None), ("elsewhere", engine_elsewhere)):
        extract(
            tiny_network,
            tiny_splits,
            options(tmp_path / name),
            surrogate=surrogate,
            engine=engine,
        )
    assert contents(tmp_path / "elsewhere") == contents(tmp_path / "here")


def test_a_bundle_is_the_same_wherever_its_table_is_read(
    make_table, resnet20, network_info, tmp_path, engine_elsewhere
) -> None:
    network = tmp_path / "network.safetensors"
    save_weights(network, resnet20, network_info)
    options = CalibrateOptions(
        table=make_table(tmp_path / "table", copies=COPIES, shard_size=70),
        network=network,
        output=tmp_path / "here",
        folds=0,
    )
    calibrate(options)
    calibrate(dataclasses.replace(options, output=tmp_path / "elsewhere"), engine=engine_elsewhere)
    here, elsewhere = (
        (tmp_path / name / "detector.safetensors").read_bytes() for name in ("here", "elsewhere")
    )
    assert here == elsewhere


def test_a_folder_that_the_other_machine_does_not_see_is_refused(
    tiny_network, tiny_splits, tmp_path, options, monkeypatch
) -> None:
    class Blind(LocalEngine):
        def _completed(self, work, pieces, report):
            monkeypatch.setattr(TableInfo, "is_in", lambda _: False)
            yield from super()._completed(work, pieces, report)

    with pytest.raises(DataError, match=r"one folder for all machines.* Mount a shared one"):
        extract(tiny_network, tiny_splits, options(tmp_path), engine=Blind())


@pytest.mark.parametrize(
    ("address", "found"),
    [
        (None, "Found: nothing"),
        ("nonsense", "at nonsense.* Found: no host and port"),
        ("127.0.0.1:1", "at 127.0.0.1:1.* Found: .*refused"),
        ("127.0.0.1:99999", "at 127.0.0.1:99999.* Found: "),
    ],
)
def test_a_cluster_that_is_away_is_told_at_once(address, found, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address is not None:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(EngineError, match=f"{found}.*RAY_ADDRESS"):
        RayEngine()


def test_a_cluster_that_does_not_take_this_process_is_told_by_its_reason(monkeypatch) -> None:
    def init(**_):
        raise RuntimeError("Version mismatch: The cluster was started with: Ray: 1.0")

    ray = SimpleNamespace(is_initialized=lambda: False, init=init)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    with pytest.raises(EngineError, match=r"Found: Version mismatch.*Ray: 1\.0"):
        RayEngine()
