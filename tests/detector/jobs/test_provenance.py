import json
import sys
from datetime import UTC, datetime
from importlib.metadata import version

from detector.jobs.provenance import provenance


def test_provenance_is_json_with_the_facts_command_time_and_versions(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/some/where/offpath", "train", "--data", "a file.npz"])
    found = json.loads(json.dumps(provenance(seed=3)))
    assert found["seed"] == 3
    assert found["command"] == "offpath train --data 'a file.npz'"
    assert found["versions"]["torch"] == version("torch")
    created = datetime.fromisoformat(found["created"])
    assert created.tzinfo == UTC
    assert 0 <= (datetime.now(UTC) - created).total_seconds() < 60


def test_a_package_that_is_not_installed_is_left_out(monkeypatch):
    monkeypatch.setattr("detector.jobs.provenance._PACKAGES", ("torch", "no-such-package"))
    assert set(provenance()["versions"]) == {"python", "torch"}


def test_folders_of_this_machine_are_left_out_of_the_command(monkeypatch):
    arguments = [
        "offpath",
        "train",
        "--data",
        "/some/where/cifar10.npz",
        "--output=/else/where/run",
    ]
    monkeypatch.setattr(sys, "argv", [*arguments, "runs/kept"])
    found = provenance()["command"]
    assert found == "offpath train --data cifar10.npz --output=run runs/kept"
