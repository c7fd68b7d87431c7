"""Explanations from the batch to the caller: who asks gets them, as far as its rights go."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from offpath.v1 import detection_pb2 as pb
from PIL import Image
from rich.console import Console

from detector.bundle import Bundle, load_bundle
from detector.explanation import (
    ExplainedGate,
    ExplainedLayer,
    Explanation,
    NearImage,
    Rival,
    ScorePart,
)
from service import cli
from service.client import AsyncClient
from service.explanation_codec import encode_explanation
from service.explanation_parsing import parse_explanation
from service.explanation_tables import explanation_lines
from service.local import LocalDetector
from service.results import Detection, Level, ServerFailureError, Verdict
from service.security.credentials import Credentials
from service.security.principal import ALL_RIGHTS, Right
from service.security.principals import token_digest
from service.server import DetectionServer
from service.settings import Settings

FULL = Explanation(
    distance=12.5,
    layers=(
        ExplainedLayer(name="layer3.1.conv2", contribution=4.25),
        ExplainedLayer(name="layer1.0.conv1", contribution=1.5),
    ),
    gates=(
        ExplainedGate(
            layer="layer3.1.conv2",
            filter=17,
            is_open=True,
            open_share=0.02,
            activation=0.81,
            usual_activation=0.01,
            contribution=3.5,
            sentence="Filter 17 of layer3.1.conv2 is open; it is open in 2 % of clean images.",
        ),
    ),
    rival=Rival(index=5, label="dog", margin=31.0, sentence="It fits dog best."),
    neighbours=(NearImage(image=4711, index=5, label="dog", differing=0.04),),
    parts=(
        ScorePart(name="margin fall", surprisal=9.25, sentence="Its lead shrinks when copied."),
        ScorePart(name="activations", surprisal=0.5, sentence="Its filters respond unlike."),
    ),
)


def without_numbers(full: Explanation) -> Explanation:
    """What is told without the right to the score."""
    return replace(
        full,
        distance=None,
        layers=tuple(replace(each, contribution=None) for each in full.layers),
        gates=tuple(replace(each, contribution=None) for each in full.gates),
        rival=replace(full.rival, margin=None),
        neighbours=tuple(replace(each, differing=None) for each in full.neighbours),
        parts=tuple(replace(each, surprisal=None) for each in full.parts),
    )


TOLD = {
    frozenset(ALL_RIGHTS): FULL,
    frozenset({Right.EXPLANATION, Right.PATH, Right.SCORE}): FULL,
    frozenset({Right.EXPLANATION, Right.SCORE}): replace(FULL, gates=()),
    frozenset({Right.EXPLANATION, Right.PATH}): without_numbers(FULL),
    frozenset({Right.EXPLANATION}): replace(without_numbers(FULL), gates=()),
}


@pytest.mark.parametrize("rights", TOLD, ids=lambda rights: "+".join(sorted(rights)))
def test_a_caller_gets_as_much_of_it_as_its_rights_allow(rights: frozenset[Right]) -> None:
    sent = pb.Detection(explanation=encode_explanation(FULL, rights))
    received = pb.Detection.FromString(sent.SerializeToString())
    assert parse_explanation(received) == TOLD[rights]


def test_nothing_is_made_of_a_detection_without_one() -> None:
    assert parse_explanation(pb.Detection()) is None


async def test_of_a_batch_of_several_callers_only_those_who_ask_are_explained(
    server: DetectionServer, pipeline: Any, images: Any
) -> None:
    pipeline.open.clear()
    async with AsyncClient(server.address) as client:
        first = asyncio.create_task(client.detect([images.png(0, 1)]))
        await asyncio.sleep(0.2)  # it holds the thread
        calls = [
            asyncio.create_task(
                client.detect([images.png(0, 10 * place)], include_explanation=place % 2 == 1)
            )
            for place in range(1, 6)
        ]
        await asyncio.sleep(0.2)  # they arrive
        pipeline.open.set()
        await first
        replies = await asyncio.gather(*calls)
    for place, reply in enumerate(replies, start=1):
        (found,) = reply.detections
        if place % 2:
            assert found.explanation is not None
            assert found.explanation.distance == found.score == 10 * place
        else:
            assert found.explanation is None
    assert sum(map(len, pipeline.explained)) == 3
    assert len(pipeline.batches) < 6  # some of them shared one
    assert pipeline.threads == {"offpath-inference_0"}


async def test_an_explanation_that_fails_costs_nobody_else_the_verdict(
    server: DetectionServer, pipeline: Any, images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(server.engines.active.batcher._runner, "_explain", fails)
    pipeline.open.clear()
    async with AsyncClient(server.address) as client:
        first = asyncio.create_task(client.detect([images.png(0, 1)]))
        await asyncio.sleep(0.2)  # it holds the thread
        plain, asking = (
            asyncio.create_task(client.detect([images.png(0, 10)], include_explanation=asks))
            for asks in (False, True)
        )
        await asyncio.sleep(0.2)  # they arrive, and share a batch
        pipeline.open.set()
        await first
        with pytest.raises(ServerFailureError):
            await asking
        assert (await plain).detections[0].score == 10
    assert not server.engines.active.batcher.failing.is_set()


async def test_who_does_not_ask_costs_nothing(
    server: DetectionServer, pipeline: Any, images: Any
) -> None:
    async with AsyncClient(server.address) as client:
        reply = await client.detect([images.png(0, 1), images.png(1, 2)], include_layers=True)
    assert [found.explanation for found in reply.detections] == [None, None]
    assert pipeline.explained == []


@pytest.mark.parametrize("rights", list(TOLD)[1:], ids=lambda rights: "+".join(sorted(rights)))
async def test_rights_decide_on_a_server_too(
    start: Callable[..., Any], images: Any, tmp_path: Path, rights: frozenset[Right]
) -> None:
    file = tmp_path / "rights.toml"
    names = [right.value for right in sorted(rights)]
    file.write_text(f'[some]\ntoken_sha256 = ["{token_digest("t").hex()}"]\nrights = {names}\n')
    server = await start(principals=file)
    async with AsyncClient(server.address, credentials=Credentials(token="t")) as client:
        reply = await client.detect([images.png(0, 30)], include_explanation=True)
    found = reply.detections[0].explanation
    assert found is not None
    assert (found.distance == 30) is (Right.SCORE in rights)
    assert bool(found.gates) is (Right.PATH in rights)
    assert found.rival.label == "dog"


@pytest.fixture
def bundle_on_disk(bundle_folder: Path) -> Bundle:
    return load_bundle(bundle_folder)


@pytest.fixture
async def real_server(
    bundle_on_disk: Bundle, make_settings: Callable[..., Settings]
) -> AsyncIterator[DetectionServer]:
    server = await DetectionServer.start(bundle_on_disk, make_settings(batch_sizes=(1, 4)))
    yield server
    await server.drain()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    return tmp_path / "noise.png"


async def test_a_real_bundle_explains_over_the_wire_as_in_process(
    real_server: DetectionServer, bundle_on_disk: Bundle, file: Path
) -> None:
    (known,) = LocalDetector(bundle_on_disk).detect(
        [file], level=Level.STANDARD, include_explanation=True
    )
    async with AsyncClient(real_server.address) as client:
        reply = await client.detect([file], level=Level.STANDARD, include_explanation=True)
    found, expected = reply.detections[0].explanation, known.explanation
    assert found is not None
    assert expected is not None
    # Batches of other sizes round differently.
    assert found.distance == pytest.approx(expected.distance, rel=1e-3, abs=1e-3)
    assert found.neighbours == expected.neighbours
    assert found.rival.label == expected.rival.label


def detection(explanation: Explanation | None) -> Detection:
    return Detection(
        predicted_class=3,
        label="cat",
        probability=0.5,
        score=2.0,
        p_value=0.01,
        alpha=0.05,
        level=Level.FAST,
        passes=1,
        verdict=Verdict.OFF_PATH,
        reason="It is strange.",
        explanation=explanation,
    )


def printed(explanation: Explanation | None, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as capture:
        for line in explanation_lines("a.png", detection(explanation)):
            console.print(line)
    return capture.get()


def test_a_gate_is_a_row_of_80_columns_and_the_sum_of_all_stands_below() -> None:
    lines = printed(FULL).splitlines()
    assert all(len(line.rstrip()) <= 80 for line in lines)
    row = next(line for line in lines if line.startswith("layer3.1.conv2"))
    assert row.split() == ["layer3.1.conv2", "17", "open", "2.0%", "0.81", "0.01", "+3.50"]
    assert next(line for line in lines if "all gates" in line).split() == ["all", "gates", "+12.50"]


def test_the_rest_is_said_in_words() -> None:
    shown = printed(FULL, width=200)
    assert "a.png: what speaks against cat in its path" in shown
    assert FULL.gates[0].sentence in shown
    assert "Farthest layers: layer3.1.conv2 +4.25, layer1.0.conv1 +1.50." in shown
    assert FULL.rival.sentence in shown
    assert "Nearest clean paths: dog (training image 4711, 4.0% of gates differ)." in shown


def test_what_is_not_told_is_left_out() -> None:
    shown = printed(without_numbers(FULL), width=200)
    assert "Farthest layers: layer3.1.conv2, layer1.0.conv1." in shown
    assert "dog (training image 4711)." in shown
    assert "all gates" not in shown
    row = next(line for line in shown.splitlines() if line.startswith("layer3.1.conv2"))
    assert row.split()[-1] == "-"
    assert "adds" not in printed(replace(FULL, gates=()), width=200)


def test_nothing_is_shown_of_an_image_without_an_explanation() -> None:
    assert printed(None) == ""


def test_check_explains_on_request_as_a_table_and_as_json(
    bundle_folder: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["check", str(file), "--bundle", str(bundle_folder), "--device", "cpu"]
    assert cli.run([*command, "--explain"]) == 0
    shown = " ".join(capsys.readouterr().out.split())  # lines end where the terminal does
    for words in (
        "what its score is made of",
        "what speaks against",
        "open in",
        "all gates",
        "Nearest clean paths:",
    ):
        assert words in shown
    assert cli.run([*command, "--explain", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert {"distance", "layers", "gates", "rival", "neighbours", "parts"} == set(
        found["explanation"]
    )
    assert found["explanation"]["gates"][0]["sentence"]
    assert cli.run([*command, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["explanation"] is None
