"""A small bundle without a network, and real servers on free ports that serve it."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from google.rpc import error_details_pb2, status_pb2
from PIL import Image
from torch import Tensor, nn

from detector.bundle import Bundle
from detector.conformal import ConformalTable, Promise
from detector.decoupling import Backbone, DecoupledNetwork
from detector.errors import BudgetError, InvalidInputError
from detector.explanation import ExplainedGate, ExplainedLayer, Explanation, NearImage, Rival
from detector.paths import PathLayout, PathVectors
from detector.pipeline import Abstention, Detection, Findings, LayerWeight, LevelName, Verdict
from detector.preprocessing import Preprocessing
from detector.scoring import FusionName
from service.server import DetectionServer
from service.settings import Settings

SIDE = 8
FAILING_PIXEL = 251


def calibration() -> ConformalTable:
    """Scores from 0 to 199, evenly, of 400, 400 and 50 images."""
    predicted = torch.repeat_interleave(torch.arange(3), torch.tensor([400, 400, 50]))
    scores = torch.cat([torch.arange(400) % 200, torch.arange(400) % 200, torch.arange(50) * 4])
    return ConformalTable(scores, predicted, 3, promise=Promise())


@dataclass(frozen=True)
class FakeLevel:
    name: LevelName
    copies: tuple[str, ...]
    fusion: FusionName = FusionName.ONE_CLASS
    conformal: ConformalTable = field(default_factory=calibration)

    @property
    def passes(self) -> int:
        return 1 + len(self.copies)


class FakeBackbone(nn.Module):
    """The layers of the fake pipeline's paths; it is counted and never run."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 2, 1)
        self.first = nn.Conv2d(2, 3, 3, padding=1)
        self.second = nn.Conv2d(3, 9, 3, padding=1)
        self.head = nn.Linear(9, 3)

    def forward(self, images: Tensor) -> Tensor:
        features = torch.relu(self.second(torch.relu(self.first(torch.relu(self.stem(images))))))
        return cast("Tensor", self.head(features.mean(dim=(2, 3))))


class FakePipeline:
    """Predicts the first pixel modulo 3; the score is the second pixel.

    At the level `thorough` it is one higher. The level `fast` is not calibrated.
    """

    class_names = ("cat", "dog", "ship")
    calibration_counts = (400, 400, 50)
    alpha = 0.05
    smallest_alpha = 0.01
    layout = PathLayout(names=("first", "second"), sizes=(3, 9))
    preprocessing = Preprocessing(
        height=SIDE, width=SIDE, shorter_side=SIDE, mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0)
    )

    levels = {  # noqa: RUF012  # as the pipeline's own
        LevelName.STANDARD: FakeLevel(LevelName.STANDARD, ("flip",)),
        LevelName.THOROUGH: FakeLevel(
            LevelName.THOROUGH, ("flip", "shift:left", "shift:right"), FusionName.LEARNT
        ),
    }
    default_level = LevelName.STANDARD
    network = DecoupledNetwork(FakeBackbone())
    open_rates = torch.full((3, 12), 0.5)
    device = "cpu"

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.levels_of_batches: list[str] = []
        self.threads: set[str] = set()
        self.explained: list[list[int]] = []
        self.open = threading.Event()
        self.open.set()

    def level(self, name: str | None = None) -> FakeLevel:
        found = {str(known): level for known, level in self.levels.items()}
        if name is not None and name not in found:
            raise InvalidInputError(f"level: found {name}, not calibrated.", field="level")
        return found[name or self.default_level]

    def analyse(self, images: Tensor, level: str | None = None) -> Findings:
        self.open.wait()
        name = self.level(level).name
        self.levels_of_batches.append(name)
        self.threads.add(threading.current_thread().name)
        self.batches.append(len(images))
        if bool((images[:, 0, 0, 0] == FAILING_PIXEL).any()):
            raise RuntimeError("the secret of the network")
        count = len(images)
        predicted = images[:, 0, 0, 0].long() % 3
        scores = images[:, 0, 0, 1].float() + (name is LevelName.THOROUGH)
        logits = images[:, 0, 0, 2:3].float() + torch.linspace(-6, 5, 12)
        return Findings(
            level=name,
            class_logits=torch.nn.functional.one_hot(predicted, 3).float(),
            path=PathVectors(
                layout=self.layout, bits=logits > 0, logits=logits, activations=logits.relu()
            ),
            predicted=predicted,
            probability=torch.full((count,), 0.5),
            scores=scores,
            p_values=1 / (1 + scores),
            layer_weights=torch.tensor([[0.25, 0.75]]).repeat(count, 1),
            testimony=torch.zeros(count, 0),
        )

    def explain(self, findings: Findings, rows: Sequence[int]) -> Findings:
        """Says of each row that asks which class it is; the distance is its score."""
        self.explained.append(list(rows))
        self.threads.add(threading.current_thread().name)
        found = {row: explanation_of(float(findings.scores[row])) for row in rows}
        return replace(findings, explanations=found)

    def check_alpha(self, alpha: float | None) -> float:
        if alpha is None:
            return self.alpha
        if not 0 < alpha < 1:
            raise BudgetError(f"alpha should lie in (0, 1). Found {alpha}.", field="alpha")
        if not self.smallest_alpha <= alpha <= self.alpha:
            raise BudgetError(
                f"alpha should lie in {self.smallest_alpha}..{self.alpha}. Found {alpha}.",
                field="alpha",
            )
        return alpha

    def detect(self, findings: Findings, row: int, alpha: float | None = None) -> Detection:
        budget = self.alpha if alpha is None else alpha
        predicted = int(findings.predicted[row])
        p_value = float(findings.p_values[row])
        if predicted == 2 and budget < 0.05:
            verdict = Verdict.ABSTAIN
        else:
            verdict = Verdict.OFF_PATH if p_value <= budget else Verdict.ON_PATH
        return Detection(
            predicted_class=predicted,
            label=self.class_names[predicted],
            probability=float(findings.probability[row]),
            score=float(findings.scores[row]),
            p_value=p_value,
            alpha=budget,
            level=findings.level,
            verdict=verdict,
            reason="For the test.",
            layers=(LayerWeight(name="second", weight=0.75),),
            abstention=Abstention.CALIBRATION_TOO_SMALL if verdict is Verdict.ABSTAIN else None,
            explanation=findings.explanations.get(row),
        )


def explanation_of(distance: float) -> Explanation:
    return Explanation(
        distance=distance,
        layers=(ExplainedLayer(name="second", contribution=0.7),),
        gates=(
            ExplainedGate(
                layer="second",
                filter=7,
                is_open=True,
                open_share=0.02,
                activation=0.81,
                usual_activation=0.32,
                contribution=0.6,
                sentence="Filter 7 of second is open; it is open in 2 % of clean images.",
            ),
        ),
        rival=Rival(index=1, label="dog", margin=-1.5, sentence="It fits dog best."),
        neighbours=(NearImage(image=4711, index=0, label="cat", differing=0.25),),
    )


@dataclass(frozen=True)
class Images:
    """Makers of images that the fake pipeline understands."""

    side: int = SIDE
    failing_pixel: int = FAILING_PIXEL

    def pixels(self, predicted: int = 0, score: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
        pixels = np.zeros((self.side, self.side, 3), dtype=np.uint8)
        pixels[0, 0, 0], pixels[0, 1, 0] = predicted, score
        return pixels

    def png(self, predicted: int = 0, score: int = 0) -> bytes:
        file = io.BytesIO()
        Image.fromarray(self.pixels(predicted, score)).save(file, "PNG")
        return file.getvalue()


@pytest.fixture
def images() -> Images:
    return Images()


@pytest.fixture
def details() -> Callable[[Any], dict[str, Any]]:
    """The details of a failed call, by kind."""

    def read(error: Any) -> dict[str, Any]:
        packed = dict(error.trailing_metadata())["grpc-status-details-bin"]
        found = {}
        for detail in status_pb2.Status.FromString(packed).details:
            for kind in (error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo):
                message = kind()
                if detail.Unpack(message):
                    found[kind.__name__] = message
        return found

    return read


@pytest.fixture
def pipeline() -> FakePipeline:
    return FakePipeline()


@pytest.fixture
def bundle(pipeline: FakePipeline) -> Bundle:
    manifest = SimpleNamespace(
        schema_version=2,
        digest="d1" * 32,
        network_digest="a1" * 32,
        created="2020-08-23T00:00:00+00:00",
        class_names=pipeline.class_names,
        levels=tuple(pipeline.levels.values()),
        alpha=pipeline.alpha,
        backbone=Backbone.CIFAR_RESNET20,
        calibration_counts=pipeline.calibration_counts,
        provenance={},
        confidence=0.95,
        guarantee="pac",
    )
    return cast("Bundle", SimpleNamespace(pipeline=pipeline, manifest=manifest, golden=None))


@pytest.fixture
def make_settings() -> Callable[..., Settings]:
    def make(**changes: Any) -> Settings:
        fields = {"port": 0, "metrics_port": 0, "drain_delay_s": 0, "drain_timeout_s": 5}
        return Settings(**{**fields, **changes})

    return make


@pytest.fixture
async def start(
    bundle: Bundle, make_settings: Callable[..., Settings], pipeline: FakePipeline
) -> AsyncIterator[Callable[..., Any]]:
    """Starts servers with changed settings; all are stopped at the end."""
    servers: list[DetectionServer] = []

    async def start(**changes: Any) -> DetectionServer:
        servers.append(await DetectionServer.start(bundle, make_settings(**changes)))
        pipeline.batches.clear()
        pipeline.levels_of_batches.clear()
        return servers[-1]

    yield start
    pipeline.open.set()
    for server in servers:
        await server.drain()


@pytest.fixture
async def server(start: Callable[..., Any]) -> DetectionServer:
    return cast("DetectionServer", await start())


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle on disk that any process can load; its network is untrained."""
    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    program = [sys.executable, "-m", "tests.service.real_bundle", str(folder)]
    subprocess.run(program, check=True, timeout=120, cwd=Path(__file__).parents[2])
    return folder
