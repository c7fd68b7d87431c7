"""Places of bundles and the shadow, with bundles that need no network."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import urllib.request
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
import torch
from offpath.v1 import detection_pb2 as pb
from offpath.v1 import detection_pb2_grpc as pb_grpc
from torch import Tensor

from detector.bundle import Bundle
from detector.decoupling.skipping import Comparison, SkippingChoice, SkippingPlan, Way
from detector.errors import BundleTamperedError, InvalidInputError
from detector.pipeline import Findings, LevelName
from service import cli
from service.admission import DrainingError
from service.engines import Engines, Place
from service.errors import BadBundleError, WrongPlaceError
from service.server import DetectionServer
from service.shadow import ShadowReport

FIRST, SECOND, THIRD = ("d1" * 32, "d2" * 32, "d3" * 32)


class Folders:
    """Bundles by the name of the folder in which they are found."""

    def __init__(self, first: Bundle) -> None:
        self._first = first
        self.bundles: dict[str, Any] = {}

    def put(self, name: str, digest: str, pipeline: Any, **changes: Any) -> None:
        fields = {**vars(self._first.manifest), "digest": digest, **changes}
        manifest = SimpleNamespace(**fields)
        bundle = SimpleNamespace(pipeline=pipeline, manifest=manifest, golden=None)
        self.bundles[name] = bundle

    def read(self, folder: Path) -> Any:
        return self.load(folder).manifest

    def load(self, folder: Path, **_: Any) -> Bundle:
        if folder.name not in self.bundles:
            raise BundleTamperedError(f"{folder} should be a bundle.")
        return cast("Bundle", self.bundles[folder.name])


@pytest.fixture
def folders(bundle: Bundle, pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> Folders:
    found = Folders(bundle)
    found.put("second", SECOND, differing(pipeline))
    found.put("third", THIRD, type(pipeline)())
    monkeypatch.setattr("service.engines.BundleManifest", found)
    monkeypatch.setattr("service.server.load_bundle", found.load)
    return found


def differing(pipeline: Any) -> Any:
    """One that predicts the next class and scores 199 higher: another verdict as well."""

    class Other(type(pipeline)):  # type: ignore[misc]  # its class is known to the fixture alone
        def analyse(self, images: Tensor, level: str | None = None) -> Findings:
            found = super().analyse(images, level)
            scores = found.scores + 199
            return dataclasses.replace(
                found,
                predicted=(found.predicted + 1) % 3,
                scores=scores,
                p_values=1 / (1 + scores),
            )

    return Other()


@pytest.fixture
def engines(server: DetectionServer, folders: Folders) -> Engines:
    return server.engines


def places(engines: Engines) -> dict[Place, str]:
    return {place: engine.digest for place, engine in engines.loaded()}


def folder(name: str) -> Path:
    return Path("/bundles") / name


async def line(server: DetectionServer, begin: str) -> str:
    def read() -> str:
        with urllib.request.urlopen(server.metrics_url) as reply:
            return str(reply.read().decode())

    (found,) = [
        each for each in (await asyncio.to_thread(read)).splitlines() if each.startswith(begin)
    ]
    return found


async def test_a_loaded_bundle_stands_by_and_is_promoted_and_rolled_back(engines: Engines) -> None:
    assert await engines.load(folder("second")) == SECOND
    assert places(engines) == {Place.ACTIVE: FIRST, Place.STANDBY: SECOND}
    engines.promote(SECOND)
    assert places(engines) == {Place.ACTIVE: SECOND, Place.PREVIOUS: FIRST}
    engines.roll_back()
    assert places(engines) == {Place.ACTIVE: FIRST, Place.STANDBY: SECOND}


async def test_a_promoted_bundle_looks_for_drift_anew_and_the_one_before_keeps_what_it_found(
    engines: Engines, server: DetectionServer
) -> None:
    engines.active.drift = SimpleNamespace(  # type: ignore[assignment]  # has found drift
        alarm=True, log_martingale=9.0, layers=("first",), layer_ratio=lambda index: 0.5
    )
    await engines.load(folder("second"))
    engines.promote(SECOND)
    assert await line(server, "offpath_drift_alarm") == "offpath_drift_alarm 0.0"
    assert await line(server, 'offpath_layer_drift_ratio{layer="second"}')
    engines.roll_back()
    assert await line(server, "offpath_drift_alarm") == "offpath_drift_alarm 1.0"
    found = await line(server, "offpath_layer_drift_ratio")  # one line: those of the other are gone
    assert found == 'offpath_layer_drift_ratio{layer="first"} 0.5'


async def test_the_plan_and_the_counts_of_multiplications_follow_the_bundle_that_answers(
    engines: Engines, server: DetectionServer, images: Any
) -> None:
    async def plan() -> str:
        return await line(server, 'offpath_skipping_info{layer="second"')

    async def plain_of_second() -> float:
        found = await line(server, 'offpath_plain_macs_total{layer="second"}')
        return float(found.split()[1])

    await engines.load(folder("second"))
    assert engines.standby is not None
    faster = Comparison(images=1, masked_s=1.0, skipped_s=0.5)
    engines.standby.skipping = SkippingChoice(
        plan=SkippingPlan.uniform(("first", "second"), Way.CHANNELS_MULTIPLIED),
        alone=faster,
        together=faster,
    )
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = pb_grpc.DetectionServiceStub(channel)
        engines.start_shadow(1.0)
        assert "masked" in await plan()
        await stub.Detect(request(images))
        await settled(lambda: engines.shadow.report.calls == 1)
        of_one = await plain_of_second()  # the shadow's are not counted
        assert of_one == 8 * 8 * 9 * 3 * 9
        engines.promote(SECOND)
        assert "open-channels-multiplied" in await plan()
        await stub.Detect(request(images))
        assert await plain_of_second() == 2 * of_one
        engines.roll_back()
        assert "masked" in await plan()


async def test_what_the_shadow_judges_is_not_looked_at_for_drift(
    engines: Engines, server: DetectionServer, images: Any
) -> None:
    await engines.load(folder("second"))
    engines.start_shadow(1.0)
    async with grpc.aio.insecure_channel(server.address) as channel:
        await pb_grpc.DetectionServiceStub(channel).Detect(request(images))
    await settled(lambda: engines.shadow.report.calls == 1)
    assert engines.standby is not None
    assert engines.standby.drift is not None
    assert engines.active.drift is not None
    assert engines.standby.drift.report().since is None
    assert engines.active.drift.report().since is not None


async def test_a_call_that_is_repeated_leads_nowhere_else(engines: Engines) -> None:
    await engines.load(folder("second"))
    await engines.load(folder("second"))
    assert places(engines) == {Place.ACTIVE: FIRST, Place.STANDBY: SECOND}
    engines.promote(SECOND)
    engines.promote(SECOND)
    assert places(engines) == {Place.ACTIVE: SECOND, Place.PREVIOUS: FIRST}
    engines.roll_back()
    with pytest.raises(WrongPlaceError, match="previous"):
        engines.roll_back()
    assert places(engines) == {Place.ACTIVE: FIRST, Place.STANDBY: SECOND}


async def test_what_is_displaced_ends_with_its_threads(engines: Engines) -> None:
    await engines.load(folder("second"))
    second = engines.standby
    await engines.load(folder("third"))
    assert places(engines) == {Place.ACTIVE: FIRST, Place.STANDBY: THIRD}
    engines.promote(THIRD)
    first = engines.previous
    await engines.load(folder("second"))
    engines.promote(SECOND)
    assert places(engines) == {Place.ACTIVE: SECOND, Place.PREVIOUS: THIRD}
    for engine in (first, second):
        assert engine is not None
        async with asyncio.timeout(10):
            assert await engine.stop(timeout_s=5)
        with pytest.raises(RuntimeError, match="shutdown"):
            await engine.batcher.on_thread(lambda: None)


async def test_what_is_unloaded_leaves_memory(engines: Engines) -> None:
    await engines.load(folder("second"))
    engines.start_shadow(1.0)
    engines.promote(SECOND)
    engines.roll_back()
    second = weakref.ref(engines.standby)
    engines.unload(SECOND)

    def gone() -> bool:
        gc.collect()
        return second() is None

    await settled(gone)


async def test_only_what_does_not_answer_can_be_unloaded(engines: Engines) -> None:
    await engines.load(folder("second"))
    for digest in (FIRST, THIRD, ""):
        with pytest.raises(WrongPlaceError):
            engines.unload(digest)
    engines.unload(SECOND)
    assert places(engines) == {Place.ACTIVE: FIRST}
    await engines.load(folder("second"))
    engines.promote(SECOND)
    engines.unload(FIRST)
    assert places(engines) == {Place.ACTIVE: SECOND}


async def test_only_the_bundle_that_stands_by_is_promoted(engines: Engines) -> None:
    for digest in (SECOND, ""):
        with pytest.raises(WrongPlaceError):
            engines.promote(digest)
    await engines.load(folder("second"))
    with pytest.raises(WrongPlaceError):
        engines.promote(THIRD)
    assert places(engines)[Place.ACTIVE] == FIRST


async def test_a_bundle_whose_batches_fail_is_not_promoted(engines: Engines) -> None:
    await engines.load(folder("second"))
    assert engines.standby is not None
    engines.standby.batcher.failing.set()
    with pytest.raises(WrongPlaceError, match="fail"):
        engines.promote(SECOND)
    assert places(engines)[Place.ACTIVE] == FIRST


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"class_names": ("cat", "ship", "dog")}, "classes"),
        ({"class_names": ("cat", "dog")}, "classes"),
        ({"levels": (SimpleNamespace(name=LevelName.STANDARD),)}, "thorough"),
    ],
)
async def test_a_bundle_that_callers_could_not_go_on_with_is_refused(
    engines: Engines,
    folders: Folders,
    server: DetectionServer,
    pipeline: Any,
    changes: dict[str, Any],
    named: str,
) -> None:
    folders.put("strange", SECOND, type(pipeline)(), **changes)
    with pytest.raises(BadBundleError, match=named):
        await engines.load(folder("strange"))
    assert places(engines) == {Place.ACTIVE: FIRST}
    assert await line(server, 'offpath_bundle_loads_total{outcome="failed"}') == (
        'offpath_bundle_loads_total{outcome="failed"} 1.0'
    )


async def test_a_bundle_that_fails_as_it_warms_up_is_refused_and_the_old_one_answers(
    engines: Engines, folders: Folders, server: DetectionServer, pipeline: Any, images: Any
) -> None:
    broken = type(pipeline)()
    broken.analyse = lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("no room"))
    folders.put("broken", SECOND, broken)
    with pytest.raises(BadBundleError, match="memory"):
        await engines.load(folder("broken"))
    assert places(engines) == {Place.ACTIVE: FIRST}
    async with grpc.aio.insecure_channel(server.address) as channel:
        reply = await pb_grpc.DetectionServiceStub(channel).Detect(request(images))
    assert reply.bundle_digest == FIRST


async def test_nothing_changes_once_the_server_drains(engines: Engines) -> None:
    await engines.load(folder("second"))
    await engines.stop(timeout_s=1)
    with pytest.raises(DrainingError):
        engines.promote(SECOND)
    with pytest.raises(DrainingError):
        engines.roll_back()
    with pytest.raises(DrainingError):
        await engines.load(folder("third"))


def request(images: Any, *, score: int = 0) -> pb.DetectRequest:
    return pb.DetectRequest(images=[pb.Image(encoded=images.png(0, score))])


async def settled(counts: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not counts():  # noqa: ASYNC110  # counts tell nobody that they change
            await asyncio.sleep(0.01)


async def test_the_shadow_counts_what_it_would_have_said_otherwise(
    engines: Engines, server: DetectionServer, images: Any
) -> None:
    await engines.load(folder("second"))
    engines.start_shadow(1.0)
    report = engines.shadow.report
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = pb_grpc.DetectionServiceStub(channel)
        for count in range(1, 4):
            assert (await stub.Detect(request(images))).detections[0].predicted_class == 0
            await settled(lambda count=count: report.calls == count)
    assert (report.images, report.class_disagreements, report.verdict_disagreements) == (3, 3, 3)
    assert report.mean_p_value_difference == pytest.approx(1 - 1 / 200)
    assert (report.dropped_calls, report.failed_calls) == (0, 0)
    for kind in ("class", "verdict"):
        begin = f'offpath_shadow_disagreements_total{{kind="{kind}"}}'
        assert await line(server, begin) == f"{begin} 3.0"
    assert await line(server, "offpath_shadow_p_value_difference_sum") == (
        f"offpath_shadow_p_value_difference_sum {report.p_value_difference}"
    )
    # Callers' metrics do not know of it.
    images_answered = 'offpath_images_total{level="standard"}'
    assert await line(server, images_answered) == f"{images_answered} 3.0"
    assert await line(server, "offpath_batch_images_count") == "offpath_batch_images_count 3.0"


async def test_the_shadow_agrees_with_a_bundle_that_answers_alike(
    engines: Engines, server: DetectionServer, images: Any
) -> None:
    await engines.load(folder("third"))
    engines.start_shadow(1.0)
    report = engines.shadow.report
    async with grpc.aio.insecure_channel(server.address) as channel:
        await pb_grpc.DetectionServiceStub(channel).Detect(request(images, score=7))
    await settled(lambda: report.calls == 1)
    assert (report.class_disagreements, report.verdict_disagreements) == (0, 0)
    assert report.mean_p_value_difference == 0


async def test_a_shadow_that_hangs_holds_up_nobody_and_has_no_queue(
    engines: Engines, server: DetectionServer, folders: Folders, images: Any
) -> None:
    await engines.load(folder("second"))
    engines.start_shadow(1.0)
    report = engines.shadow.report
    second = folders.bundles["second"].pipeline
    second.open.clear()
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            stub = pb_grpc.DetectionServiceStub(channel)
            for _ in range(10):
                await stub.Detect(request(images), timeout=20)
            assert (report.calls, report.dropped_calls) == (0, 9)
            assert engines.standby is not None
            assert engines.standby.observer.images == 1
    finally:
        second.open.set()
    await settled(lambda: report.calls == 1)
    assert (report.calls, report.dropped_calls) == (1, 9)


async def test_a_shadow_that_fails_is_counted_and_callers_are_answered(
    engines: Engines, server: DetectionServer, folders: Folders, images: Any
) -> None:
    await engines.load(folder("second"))
    engines.start_shadow(1.0)
    report = engines.shadow.report
    folders.bundles["second"].pipeline.detect = lambda *_: 1 / 0
    async with grpc.aio.insecure_channel(server.address) as channel:
        await pb_grpc.DetectionServiceStub(channel).Detect(request(images))
    await settled(lambda: report.failed_calls == 1)
    assert report.calls == 0


async def test_the_shadow_judges_the_share_that_was_set(
    engines: Engines, server: DetectionServer, images: Any
) -> None:
    await engines.load(folder("second"))
    draws = iter([0.1, 0.4, 0.3, 0.9, 0.299])
    engines.shadow._draw = lambda: next(draws)
    engines.start_shadow(0.3)
    report = engines.shadow.report
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = pb_grpc.DetectionServiceStub(channel)
        for expected in (1, 1, 1, 1, 2):
            await stub.Detect(request(images))
            await settled(lambda expected=expected: report.calls == expected)
    assert next(draws, None) is None


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
async def test_what_is_no_share_is_refused(engines: Engines, share: float) -> None:
    await engines.load(folder("second"))
    with pytest.raises(InvalidInputError, match="share"):
        engines.start_shadow(share)


async def test_there_is_no_shadow_without_a_bundle_that_stands_by(engines: Engines) -> None:
    with pytest.raises(WrongPlaceError, match="stand by"):
        engines.start_shadow(0.5)


async def test_a_promotion_ends_the_shadow_and_keeps_its_counts(
    engines: Engines, server: DetectionServer, images: Any
) -> None:
    await engines.load(folder("second"))
    engines.start_shadow(1.0)
    report = engines.shadow.report
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = pb_grpc.DetectionServiceStub(channel)
        await stub.Detect(request(images))
        await settled(lambda: report.calls == 1)
        engines.promote(SECOND)
        await stub.Detect(request(images))
    assert (report.share, report.calls, report.dropped_calls) == (0.0, 1, 0)
    assert engines.shadow.report is report


@pytest.mark.parametrize("change", ["unload", "load"])
async def test_the_counts_of_a_shadow_go_with_its_bundle(
    engines: Engines, server: DetectionServer, images: Any, change: str
) -> None:
    await engines.load(folder("second"))
    engines.start_shadow(1.0)
    report = engines.shadow.report
    async with grpc.aio.insecure_channel(server.address) as channel:
        await pb_grpc.DetectionServiceStub(channel).Detect(request(images))
    await settled(lambda: report.calls == 1)
    if change == "unload":
        engines.unload(SECOND)
    else:
        await engines.load(folder("third"))
    assert engines.shadow.report == ShadowReport()


async def test_a_bundle_that_answers_is_not_loaded_again_and_the_command_says_so(
    start: Callable[..., Any], folders: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    folders.put("same", FIRST, folders.bundles["third"].pipeline)
    server = await start(admin_port=0)

    async def admin(*arguments: str) -> int:
        command = ["admin", *arguments, "--server", server.admin_address]
        return await asyncio.to_thread(cli.run, command)

    assert await admin("load", "/bundles/same") == 0
    assert f"{FIRST[:12]} already answers: nothing was loaded" in capsys.readouterr().out
    assert places(server.engines) == {Place.ACTIVE: FIRST}
    assert await admin("shadow", "1") == 2
    assert "Load one that is not the one that answers" in capsys.readouterr().err
    assert await admin("load", "/bundles/second") == 0
    assert f"{SECOND[:12]} stands by" in capsys.readouterr().out


async def test_calls_in_flight_end_with_the_bundle_that_they_began_with(
    engines: Engines, server: DetectionServer, pipeline: Any, images: Any
) -> None:
    await engines.load(folder("second"))
    pipeline.open.clear()
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = pb_grpc.DetectionServiceStub(channel)
        first = engines.active
        before = [asyncio.ensure_future(stub.Detect(request(images))) for _ in range(5)]
        await settled(lambda: first.observer.images == 5)
        engines.promote(SECOND)
        after = await stub.Detect(request(images))
        assert await line(server, "offpath_queue_images ") == "offpath_queue_images 5.0"
        pipeline.open.set()
        replies = await asyncio.gather(*before)
    assert {each.bundle_digest for each in replies} == {FIRST}
    assert {each.detections[0].predicted_class for each in replies} == {0}
    assert (after.bundle_digest, after.detections[0].predicted_class) == (SECOND, 1)
    assert await line(server, "offpath_queue_images ") == "offpath_queue_images 0.0"


async def test_readiness_follows_the_bundle_that_answers(
    engines: Engines, server: DetectionServer
) -> None:
    await engines.load(folder("second"))
    engines.active.batcher._runner._analyse = lambda *_: 1 / 0  # no probe succeeds
    engines.active.batcher.failing.set()
    await settled(lambda: not server._health.is_ready())
    engines.promote(SECOND)
    await settled(server._health.is_ready)
    assert not server.died.is_set()


async def test_a_campaign_goes_on_when_a_bundle_with_the_same_network_is_promoted(
    start: Callable[..., Any], folders: Folders
) -> None:
    server = await start(campaign_policy="flag", campaign_related=5)
    *before, between, after = nearly_identical(7)
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = pb_grpc.DetectionServiceStub(channel)
        assert await marks(stub, *before) == [False] * 5
        await server.engines.load(folder("third"))
        server.engines.promote(THIRD)
        assert await marks(stub, between) == [True]
        server.engines.roll_back()
        assert await marks(stub, after) == [True]
    assert await line(server, "offpath_campaigns_total") == "offpath_campaigns_total 1.0"
    assert await line(server, "offpath_active_campaigns") == "offpath_active_campaigns 1.0"


async def test_paths_of_another_network_are_not_compared_and_a_rollback_finds_the_old_ones(
    start: Callable[..., Any], folders: Folders, pipeline: Any
) -> None:
    folders.put("retrained", SECOND, type(pipeline)(), network_digest="a2" * 32)
    server = await start(campaign_policy="flag", campaign_related=5)
    *before, between, after = nearly_identical(7)
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = pb_grpc.DetectionServiceStub(channel)
        await marks(stub, *before)
        await server.engines.load(folder("retrained"))
        server.engines.promote(SECOND)
        assert await marks(stub, between) == [False]
        server.engines.roll_back()
        assert await marks(stub, after) == [True]


async def test_a_watch_is_forgotten_with_the_last_bundle_that_has_its_network(
    engines: Engines, folders: Folders, pipeline: Any
) -> None:
    folders.put("retrained", SECOND, type(pipeline)(), network_digest="a2" * 32)
    await engines.load(folder("retrained"))
    assert engines.standby is not None
    watch = weakref.ref(engines.standby.watch)
    engines.unload(SECOND)

    def gone() -> bool:
        gc.collect()
        return watch() is None

    await settled(gone)


def nearly_identical(count: int) -> list[pb.Image]:
    """Images of one path and nearly one content, as an attack sends them."""
    noise = torch.Generator().manual_seed(0)
    sent = []
    for _ in range(count):
        pixels = 100 + torch.randint(-2, 3, (8, 8, 3), generator=noise)
        pixels[0] = 0  # here the fake pipeline reads class, score and path
        data = pixels.to(torch.uint8).numpy().tobytes()
        sent.append(pb.Image(raw=pb.RawTensor(data=data, height=8, width=8, channels=3)))
    return sent


async def marks(stub: Any, *sent: pb.Image) -> list[bool]:
    reply = await stub.Detect(pb.DetectRequest(images=sent))
    return [each.in_campaign for each in reply.detections]
