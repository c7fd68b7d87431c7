"""Callers of a real server who search for images that pass, and what it notices of them."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from service.client import Client
from service.local_server import LocalServer
from service.results import Detection, Verdict
from service.security.credentials import Credentials
from service.security.principal import Right
from service.security.token_command import make_token
from tests.figures.serving import metric, serving

__all__ = ["Answers", "Caller", "newcomers"]

_CAMPAIGNS = "offpath_campaigns_total"


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What is told of B images, and what is noticed of them.

    Args:
        class_logits: Shape (B, K), as far as the caller can tell.
        predicted: Classes, shape (B,).
        flagged: Whether each is suspicious, bool of shape (B,).
        lacking: By how much each p-value is below the budget, at least 0, shape (B,).
        began: Whether a campaign began with each.
    """

    class_logits: Tensor
    predicted: Tensor
    flagged: Tensor
    lacking: Tensor
    began: list[bool]


class Caller:
    """A principal whom the server tells scores; one image a call, at the default level.

    Args:
        server: Whom it asks.
        token: What it shows.
        classes: How many classes there are.
    """

    def __init__(self, server: LocalServer, token: str, *, classes: int) -> None:
        self._server = server
        self._client = Client(server.address, credentials=Credentials(token=token))
        self._classes = classes

    def ask(self, images: Tensor) -> Answers:
        """What is told of images, uint8 of shape (B, 3, H, W); nobody else may call meanwhile.

        All classes but the predicted one are taken for equally likely.
        """
        found, campaigns = [], [metric(self._server, _CAMPAIGNS)]
        for image in images:
            found += self._client.detect([image.permute(1, 2, 0).numpy()]).detections
            campaigns.append(metric(self._server, _CAMPAIGNS))
        return Answers(
            class_logits=torch.stack([self._logits(each) for each in found]),
            predicted=torch.tensor([each.predicted_class for each in found]),
            flagged=torch.tensor([each.verdict is not Verdict.ON_PATH for each in found]),
            lacking=torch.tensor([max(0.0, each.alpha - each.p_value) for each in found]),
            began=[now > before for before, now in itertools.pairwise(campaigns)],
        )

    def _logits(self, found: Detection) -> Tensor:
        if found.probability is None:
            raise RuntimeError("The server should tell probabilities. Found that it does not.")
        shares = torch.full((self._classes,), (1 - found.probability) / (self._classes - 1))
        shares[found.predicted_class] = found.probability
        return shares.clamp(min=1e-12).log()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()


@contextlib.contextmanager
def newcomers(most: int, *, classes: int) -> Iterator[Iterator[Caller]]:
    """Callers of one server of the bundled default, which has seen nothing of any of them.

    Args:
        most: How many there are.
        classes: How many classes the bundled default has.
    """
    made = [make_token(f"caller-{number}", frozenset({Right.SCORE})) for number in range(most)]
    with tempfile.TemporaryDirectory() as folder:
        principals = Path(folder) / "principals.toml"
        principals.write_text("\n".join(each.entry for each in made))
        with serving("--principals", str(principals)) as server:
            yield (Caller(server, each.token, classes=classes) for each in made)
