"""Bundles come back as they were saved, or not at all."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from detector import bundle as bundle_package
from detector.bundle import MODEL_CARD, SCHEMA_VERSION, BundleManifest, load_bundle, save_bundle
from detector.conformal import Guarantee
from detector.errors import (
    BundleError,
    BundleMissingError,
    BundleSchemaError,
    BundleTamperedError,
    InvalidInputError,
    StorageError,
)
from detector.pipeline import LevelName, Pipeline

FILES = ("manifest.json", "network.safetensors", "detector.safetensors", "golden.safetensors")
DETECTOR = (
    "path_scores.scores.bits.weight",
    "path_scores.scores.gate-logits.whitening1",
    "path_scores.scores.disagreement.likelihood.bias",
    "path_scores.scores.neighbours.labels",
    "predicted",
    "fast.calibration_scores",
    "thorough.calibration_scores",
    "standard.fusion.single.knots",
    "thorough.fusion.trees.left",
)
"""Some of what the detector's file has to hold."""
STRANGE = (
    "path_scores.strange",
    "path_scores.scores.neighbours.strange",
    "fast.fusion.strange",
    "thorough.fusion.trees.strange",
)
PROVENANCE = {"created": "2020-08-23T00:00:00+00:00", "seed": 3}


@pytest.fixture
def saved(tmp_path, make_pipeline, network_info) -> Path:
    folder = tmp_path / "bundle"
    save_bundle(folder, make_pipeline(), network_info, provenance=PROVENANCE)
    return folder


def rewrite_manifest(folder: Path, **changes: object) -> None:
    """A manifest with other fields and the digest that belongs to them."""
    path = folder / "manifest.json"
    fields = json.loads(path.read_text()) | changes
    sealed = {name: value for name, value in fields.items() if name != "digest"}
    text = (json.dumps(sealed, indent=2) + "\n").encode()
    fields["digest"] = hashlib.sha256(text).hexdigest()
    path.write_text(json.dumps(fields, indent=2) + "\n")


def accept_files(folder: Path) -> None:
    """Give the manifest the digests of the files as they are."""
    digests = {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in FILES[1:]}
    rewrite_manifest(folder, files=digests)


@pytest.mark.parametrize("level", LevelName)
def test_a_bundle_finds_after_loading_what_it_found_before(saved, make_pipeline, images, level):
    before = make_pipeline().analyse(images, level)
    pipeline = load_bundle(saved).pipeline
    after = pipeline.analyse(images, level)
    for name in ("class_logits", "scores", "p_values", "predicted", "layer_weights"):
        assert torch.equal(getattr(after, name), getattr(before, name)), name
    assert torch.equal(after.path.bits, before.path.bits)


def test_a_bundle_explains_after_loading_as_it_did_before(saved, make_pipeline, images):
    before, after = (
        pipeline.explain(pipeline.analyse(images), range(len(images))).explanations
        for pipeline in (make_pipeline(), load_bundle(saved).pipeline)
    )
    assert after == before
    named = {each.image for found in after.values() for each in found.neighbours}
    assert named <= set(range(1000, 1300))  # as the clean images of the tests are numbered


def test_the_manifest_says_what_the_bundle_is(saved, make_pipeline, network_info):
    bundle = load_bundle(saved)
    manifest, pipeline = bundle.manifest, bundle.pipeline
    assert manifest.schema_version == SCHEMA_VERSION
    assert re.fullmatch("[0-9a-f]{64}", manifest.digest)
    assert manifest.created == PROVENANCE["created"]
    assert manifest.backbone == "cifar-resnet20"
    assert manifest.class_names == pipeline.class_names == ("cat", "dog", "frog")
    assert manifest.alpha == pipeline.alpha == 0.05
    assert (manifest.confidence, manifest.guarantee) == (0.95, Guarantee.PAC)
    assert manifest.calibration_counts == pipeline.calibration_counts == (100, 100, 100)
    assert manifest.preprocessing == pipeline.preprocessing == network_info.preprocessing
    assert manifest.layout == pipeline.layout
    assert [(level.name, level.copies, level.fusion) for level in manifest.levels] == [
        ("fast", (), "one-class"),
        ("standard", ("flip",), "one-class"),
        ("thorough", ("flip", "shift:left", "scale:0.75"), "learnt"),
    ]
    assert {name: level.copies for name, level in pipeline.levels.items()} == {
        level.name: level.copies for level in manifest.levels
    }
    assert manifest.provenance == {"training": {"seed": 7}, "calibration": PROVENANCE}


def test_the_same_pipeline_gives_the_same_digest(saved, tmp_path, make_pipeline, network_info):
    again = save_bundle(tmp_path / "b", make_pipeline(), network_info, provenance=PROVENANCE)
    assert again == load_bundle(saved).manifest


def test_a_bundle_that_was_loaded_can_be_saved_again(saved, tmp_path, network_info):
    first = load_bundle(saved)
    save_bundle(tmp_path / "copy", first.pipeline, network_info, provenance=PROVENANCE)
    assert load_bundle(tmp_path / "copy").manifest == first.manifest


@pytest.mark.parametrize("first", LevelName)
def test_the_first_level_stays_the_one_that_is_meant(tmp_path, make_pipeline, network_info, first):
    levels = (first, *(name for name in LevelName if name is not first))
    save_bundle(tmp_path / "b", make_pipeline(levels=levels), network_info, provenance=PROVENANCE)
    pipeline = load_bundle(tmp_path / "b").pipeline
    assert pipeline.default_level is first
    assert tuple(pipeline.levels) == levels


def test_a_bundle_may_have_one_level(tmp_path, make_pipeline, network_info, images):
    pipeline = make_pipeline(levels=(LevelName.FAST,))
    save_bundle(tmp_path / "b", pipeline, network_info, provenance=PROVENANCE)
    loaded = load_bundle(tmp_path / "b").pipeline
    assert torch.equal(loaded.analyse(images).scores, pipeline.analyse(images).scores)
    with pytest.raises(InvalidInputError, match="one of fast, which"):
        loaded.analyse(images, "thorough")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.999])
def test_a_flipped_bit_is_seen(saved, name, place):
    path = saved / name
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleTamperedError, match=name):
        load_bundle(saved)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
def test_a_truncated_file_is_seen(saved, name, kept):
    path = saved / name
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(BundleTamperedError, match=name):
        load_bundle(saved)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(BundleMissingError, match=name):
        load_bundle(saved)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(BundleMissingError, match="nowhere should be the folder of a bundle"):
        load_bundle(tmp_path / "nowhere")


def test_a_file_is_no_bundle(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleMissingError):
        load_bundle(tmp_path / "file")


def test_white_space_in_the_manifest_is_seen(saved):
    path = saved / "manifest.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(BundleTamperedError):
        load_bundle(saved)


@pytest.mark.parametrize(
    "text", ["[]", "null", "{}", f'{{"schema_version": {SCHEMA_VERSION}}}', "[" * 100_000]
)
def test_a_manifest_of_another_shape_is_refused(saved, text):
    (saved / "manifest.json").write_text(text)
    with pytest.raises(BundleTamperedError):
        load_bundle(saved)


def test_a_newer_schema_asks_for_an_upgrade(saved):
    rewrite_manifest(saved, schema_version=SCHEMA_VERSION + 1, news="unknown")
    with pytest.raises(BundleSchemaError, match=rf"Found {SCHEMA_VERSION + 1}\. Upgrade offpath"):
        load_bundle(saved)


def test_an_older_schema_asks_for_a_new_calibration(saved):
    rewrite_manifest(saved, schema_version=SCHEMA_VERSION - 1)
    told = f"schema version {SCHEMA_VERSION}. Found {SCHEMA_VERSION - 1}. Calibrate it again"
    with pytest.raises(BundleSchemaError, match=re.escape(told)):
        load_bundle(saved)


@pytest.mark.parametrize(
    "levels",
    [
        [{"name": "instant", "copies": [], "fusion": "one-class"}],
        [{"name": "fast", "copies": [], "fusion": "telepathy"}],
        [{"name": "fast", "copies": []}],
        ["fast"],
    ],
)
def test_levels_of_a_later_version_ask_for_an_upgrade(saved, levels):
    rewrite_manifest(saved, levels=levels)
    with pytest.raises(BundleSchemaError, match="Upgrade offpath"):
        load_bundle(saved)


@pytest.mark.parametrize(
    "levels",
    [
        [],
        [{"name": "fast", "copies": [], "fusion": "one-class"}] * 2,
        [{"name": "fast", "copies": ["telepathy"], "fusion": "one-class"}],
        [{"name": "fast", "copies": ["flip", "flip"], "fusion": "one-class"}],
        [{"name": "fast", "copies": ["flip"], "fusion": "one-class"}],
        [{"name": "standard", "copies": ["flip"], "fusion": "learnt"}],
    ],
    ids=["none", "twice", "unknown", "repeated", "more", "other-fusion"],
)
def test_levels_that_the_files_do_not_describe_are_refused(saved, levels):
    rewrite_manifest(saved, levels=levels)
    with pytest.raises(BundleError) as caught:
        load_bundle(saved)
    assert str(saved) in str(caught.value) or "self-test" in str(caught.value)


def test_a_backbone_of_a_later_version_asks_for_an_upgrade(saved):
    rewrite_manifest(saved, backbone="resnet-9000")
    with pytest.raises(BundleSchemaError, match="Upgrade offpath"):
        load_bundle(saved)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("network.safetensors", lambda tensors: tensors.popitem()),
        ("network.safetensors", lambda t: t.update({"strange": torch.ones(1)})),
        *(("detector.safetensors", lambda t, name=name: t.pop(name)) for name in DETECTOR),
        *(
            ("detector.safetensors", lambda t, name=name: t.update({name: torch.ones(1)}))
            for name in (*DETECTOR, *STRANGE)
        ),
        ("golden.safetensors", lambda tensors: tensors.pop("bits")),
        ("golden.safetensors", lambda tensors: tensors.pop("standard.scores")),
    ],
)
def test_files_that_do_not_fit_the_manifest_are_refused(saved, name, change):
    tensors = load_file(saved / name)
    change(tensors)
    save_file(tensors, saved / name)
    accept_files(saved)
    with pytest.raises(BundleTamperedError, match="as its manifest describes them"):
        load_bundle(saved)


def test_a_file_that_is_no_safetensors_is_refused(saved):
    (saved / "golden.safetensors").write_bytes(b"not tensors")
    accept_files(saved)
    with pytest.raises(BundleTamperedError, match="should be a safetensors file"):
        load_bundle(saved)


@pytest.mark.parametrize(
    "name", ["class_logits", "bits", "fast.scores", "standard.scores", "thorough.scores"]
)
def test_the_self_test_notices_a_machine_that_computes_otherwise(saved, name):
    golden = load_file(saved / "golden.safetensors")
    golden[name] = ~golden[name] if name == "bits" else golden[name] + 0.2
    save_file(golden, saved / "golden.safetensors")
    accept_files(saved)
    with pytest.raises(BundleError, match="self-test") as caught:
        load_bundle(saved)
    told = name.replace("_", " ").replace(".", " ").replace("bits", "gates")
    assert f"Found other {told} on cpu" in str(caught.value)


def test_the_self_test_forgives_rounding(saved):
    golden = load_file(saved / "golden.safetensors")
    golden["class_logits"] += 1e-4
    save_file(golden, saved / "golden.safetensors")
    accept_files(saved)
    load_bundle(saved)


def test_the_golden_images_have_no_undecided_gate(saved):
    golden = load_file(saved / "golden.safetensors")
    assert float(golden["gate_logits"].abs().min()) > 1e-3


def test_a_bundle_is_replaced_as_a_whole(saved, make_pipeline, network_info):
    save_bundle(saved, make_pipeline(alpha=0.04), network_info, provenance=PROVENANCE)
    assert load_bundle(saved).pipeline.alpha == 0.04
    assert [path.name for path in saved.parent.iterdir()] == ["bundle"]


def test_the_model_card_may_be_written_later(tmp_path, make_pipeline, network_info):
    folder = tmp_path / "bundle"
    save_bundle(folder, make_pipeline(), network_info, provenance=PROVENANCE, model_card="# Card\n")
    assert (folder / MODEL_CARD).read_text() == "# Card\n"
    (folder / MODEL_CARD).write_text("# Better\n")
    load_bundle(folder)


def test_a_folder_of_something_else_is_not_replaced(tmp_path, make_pipeline, network_info):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StorageError, match=r"thesis\.tex"):
        save_bundle(tmp_path, make_pipeline(), network_info, provenance=PROVENANCE)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_file_in_the_place_of_the_folder_is_not_replaced(tmp_path, make_pipeline, network_info):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        save_bundle(tmp_path / "file", make_pipeline(), network_info, provenance=PROVENANCE)
    assert (tmp_path / "file").read_text() == "x"


def test_a_full_disk_leaves_the_old_bundle(saved, make_pipeline, network_info, monkeypatch):
    def full(self, folder):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(BundleManifest, "write", full)
        with pytest.raises(StorageError, match="No space left"):
            save_bundle(saved, make_pipeline(alpha=0.04), network_info, provenance=PROVENANCE)
    assert load_bundle(saved).pipeline.alpha == 0.05
    assert [path.name for path in saved.parent.iterdir()] == ["bundle"]


def test_a_rename_that_fails_puts_the_old_bundle_back(
    saved, make_pipeline, network_info, monkeypatch
):
    rename = Path.rename

    def stubborn(self, target):
        if self.name.endswith(".part"):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", stubborn)
        with pytest.raises(StorageError, match="Input/output error"):
            save_bundle(saved, make_pipeline(alpha=0.04), network_info, provenance=PROVENANCE)
    assert load_bundle(saved).pipeline.alpha == 0.05


def test_nothing_in_a_bundle_is_code(saved):
    assert sorted(path.name for path in saved.iterdir()) == sorted(FILES)
    for name in FILES[1:]:
        assert load_file(saved / name)


def test_without_a_path_the_bundle_of_the_package_is_loaded(saved, monkeypatch):
    monkeypatch.setattr(bundle_package.bundle, "DEFAULT_BUNDLE", saved)
    assert load_bundle().pipeline.class_names == ("cat", "dog", "frog")


def test_a_loaded_network_is_in_evaluation_mode(saved):
    network = load_bundle(saved).pipeline.network
    assert isinstance(network, nn.Module)
    assert not any(module.training for module in network.modules())


def test_calibrating_again_keeps_a_model_card_that_was_written_by_hand(
    saved, make_pipeline, network_info
):
    (saved / MODEL_CARD).write_text("By hand.")
    save_bundle(saved, make_pipeline(alpha=0.04), network_info, provenance=PROVENANCE)
    assert (saved / MODEL_CARD).read_text() == "By hand."
    save_bundle(
        saved, make_pipeline(), network_info, provenance=PROVENANCE, model_card="By machine."
    )
    assert (saved / MODEL_CARD).read_text() == "By machine."
    assert load_bundle(saved).pipeline.alpha == 0.05


@pytest.mark.parametrize("device", ["nonsense", "cuda:97", "meta"])
def test_a_device_that_is_not_there_is_the_caller_s_mistake(saved, device):
    with pytest.raises(InvalidInputError, match=f"should be one .* Found '{device}'") as caught:
        load_bundle(saved, device=device)
    assert caught.value.field == "device"


def test_a_card_without_memory_is_not_called_tampering(saved, monkeypatch):
    """A device of another type than cpu stands in for the card, which fails when it has to work."""

    def full(pipeline, device):
        if device == "cpu":
            return to(pipeline, device)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")

    to = Pipeline.to
    monkeypatch.setattr(bundle_package.bundle, "usable_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(Pipeline, "to", full)
    with pytest.raises(BundleError, match=r"cuda should be able to run.*out of memory") as caught:
        load_bundle(saved, device="cuda")
    assert type(caught.value) is BundleError
