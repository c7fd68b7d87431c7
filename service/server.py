"""The server's life: load, warm up, listen, serve, and on SIGTERM stop without losing a call."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from wsgiref.simple_server import WSGIServer

import grpc
import torch
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from prometheus_client import CollectorRegistry, start_http_server

from detector.bundle import DEFAULT_BUNDLE, Bundle, load_bundle
from service.admin_server import AdminServer
from service.bundle_watch import watch_bundle
from service.campaign_watches import CampaignWatches
from service.devices import chosen_device
from service.engine import Engine
from service.engines import Engines
from service.entrance import Entrance
from service.errors import StartError
from service.health import HEALTH_SERVICE_NAME, Health
from service.health_server import HealthServer
from service.interceptors import CallInterceptor
from service.memory import keep_freed_memory, spare_loaded_code
from service.metrics import Metrics
from service.open_inference import OPEN_INFERENCE_NAME, OpenInferenceServicer
from service.scheduling import run_in_turns
from service.security.certificates import server_credentials, watch_certificates
from service.security.gate import Gate
from service.security.principals_file import watch_principals
from service.security.quotas import Quotas
from service.servicer import SERVICE_NAME, DetectionServicer
from service.settings import Settings
from service.supervision import attend
from service.tracing import start_tracing
from service.unregistered import Unregistered

__all__ = ["DetectionServer", "load_and_serve"]

_QUEUEING = (f"/{SERVICE_NAME}/Detect", f"/{OPEN_INFERENCE_NAME}/ModelInfer")
_QUIET_S = 0.1
_LAST_REPLIES_S = 2.0
_log = logging.getLogger(__name__)


class DetectionServer:
    """One running server; made by `start`, ended by `drain`.

    Args:
        bundle: What is served.
        settings: How.
    """

    def __init__(self, bundle: Bundle, settings: Settings) -> None:
        self._settings = settings
        self._tracing = start_tracing(settings.trace_endpoint)
        self._health = Health(SERVICE_NAME, OPEN_INFERENCE_NAME)
        self._metrics = Metrics(CollectorRegistry())
        self._quotas = Quotas()
        self._watches = CampaignWatches(settings)
        self.engines = Engines(
            self._engine(bundle),
            load=self._load,
            make=self._engine,
            metrics=self._metrics,
            promoted=self._answer_with,
            last_calls_s=settings.drain_timeout_s,
        )
        """The bundle that answers, and those beside it."""
        most = settings.max_images_per_request
        self._servicer = DetectionServicer(self.engines, max_images=most)
        self._open_inference = OpenInferenceServicer(
            self.engines, max_images=most, is_ready=self._health.is_ready
        )
        self._gate = Gate(
            watch_principals(settings.principals, observer=self._metrics),
            certificates=settings.tls_client_ca is not None,
        )
        files = settings.certificate_files()
        self._certificates = (
            None if files is None else watch_certificates(files, observer=self._metrics)
        )
        self._calls = self._interceptor(Entrance(self.engines, _QUEUEING))
        self._server = self._build_grpc_server()
        self._metrics_server: WSGIServer | None = None
        self._credentials: list[Any] = []
        self._admin: AdminServer | None = None
        self._health_server: HealthServer | None = None
        self._attendance: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self.died = asyncio.Event()
        """Set where a fault of the server's own leaves nobody to answer calls."""
        self.port = 0
        self.metrics_port = 0
        self._health_port = 0

    @classmethod
    async def start(cls, bundle: Bundle, settings: Settings) -> Self:
        """A server that is warm and takes calls.

        Raises:
            StartError: If a port is in use, the address does not exist, or a batch does not fit
                into the device's memory.
        """
        server = cls(bundle, settings)
        try:
            await server._start()
        except BaseException:
            await server._close()
            raise
        return server

    @property
    def address(self) -> str:
        """Where calls go, ``host:port``."""
        return _address(self._settings.host, self.port)

    @property
    def metrics_url(self) -> str:
        """Where Prometheus looks."""
        return f"http://{_address(self._settings.host, self.metrics_port)}/metrics"

    @property
    def admin_address(self) -> str | None:
        """Where the admin service is, ``host:port``; None where there is none."""
        return None if self._admin is None else self._admin.address

    @property
    def health_address(self) -> str | None:
        """Where health checks alone are answered, ``host:port``; None where nowhere."""
        if self._health_server is None:
            return None
        return _address(self._settings.host, self._health_port)

    async def drain(self) -> bool:
        """Stop without losing an accepted call.

        Readiness turns first and calls are still taken for the drain delay, as load balancers
        need that long to look away. Then new calls are refused and the queue is finished.

        Returns:
            Whether every accepted call was answered within the drain timeout.
        """
        await self._stop_watching()
        if self._admin is not None:  # first: whom it promoted would be attended to, and be ready
            await self._admin.stop()
        await self._health.draining()
        if not self.died.is_set():
            _log.info("Draining: takes calls for %g s more", self._settings.drain_delay_s)
            await asyncio.sleep(self._settings.drain_delay_s)
        finished = await self.engines.stop(timeout_s=self._settings.drain_timeout_s)
        await self._calls.quiet(for_s=_QUIET_S, timeout_s=_LAST_REPLIES_S)
        await self._server.stop(_LAST_REPLIES_S)
        await self._close()
        _log.info("Stopped; every accepted call answered: %s", finished)
        return finished

    def _build_grpc_server(self) -> Any:
        settings = self._settings
        server = grpc.aio.server(
            interceptors=[self._calls],
            options=[
                # Two servers would share one port in silence.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_send_message_length", settings.max_message_bytes),
                ("grpc.keepalive_time_ms", int(settings.keepalive_time_s * 1000)),
                ("grpc.keepalive_timeout_ms", int(settings.keepalive_timeout_s * 1000)),
                ("grpc.max_connection_age_ms", int(settings.max_connection_age_s * 1000)),
                (
                    "grpc.max_connection_age_grace_ms",
                    int(settings.max_connection_age_grace_s * 1000),
                ),
            ],
        )
        methods = Unregistered(server)
        self._servicer.register(methods)
        self._open_inference.register(methods)
        self._health.register(methods)
        names = (SERVICE_NAME, OPEN_INFERENCE_NAME, HEALTH_SERVICE_NAME, reflection.SERVICE_NAME)
        answers = reflection.aio.ReflectionServicer(names)  # type: ignore[attr-defined]  # not in the stubs
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(answers, methods)
        return server

    async def _start(self) -> None:
        self._bind()
        if self._health_server is not None:  # at once: warming up is life, if not readiness
            await self._health_server.start()
        await self.engines.active.warm()
        self._answer_with(self.engines.active)
        await self._server.start()
        await self._health.ready()
        if self._settings.watch_bundle_s:
            watch = watch_bundle(
                self._settings.bundle or DEFAULT_BUNDLE,
                self.engines,
                every_s=self._settings.watch_bundle_s,
                promote=self._settings.promote_watched,
            )
            self._watch = asyncio.create_task(watch, name="offpath-bundle-watch")
        if self._admin is not None:
            await self._admin.start()

    def _load(self, folder: Path) -> Bundle:
        return load_bundle(folder, device=self.engines.active.bundle.pipeline.device)

    def _engine(self, bundle: Bundle) -> Engine:
        return Engine(
            bundle,
            settings=self._settings,
            metrics=self._metrics,
            quotas=self._quotas,
            watches=self._watches,
        )

    def _interceptor(self, entrance: Entrance | None = None) -> CallInterceptor:
        return CallInterceptor(
            self._metrics,
            gate=self._gate,
            quotas=self._quotas,
            tracing=self._tracing,
            entrance=entrance,
        )

    def _answer_with(self, engine: Engine) -> None:
        """Tell which bundle answers from now on, and attend to its engine instead of another."""
        self._describe_bundle(engine.bundle)
        self._metrics.campaigns.active.set_function(engine.watch.active)
        self._metrics.drift.follow(engine.drift)
        self._metrics.skipping.served(engine.plan, engine.observer.mac_count)
        if self._attendance is not None:
            self._attendance.cancel()
        attendance = attend(
            engine, self._health, self.died, retry_s=self._settings.probe_interval_s
        )
        self._attendance = asyncio.create_task(attendance, name="offpath-attendance")

    async def _stop_watching(self) -> None:
        tasks = [task for task in (self._attendance, self._watch) if task is not None]
        self._attendance = self._watch = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _bind(self) -> None:
        host, port = self._settings.host, self._settings.port
        _check_free(host, port)
        try:
            self.port = self._listen(_address(host, port))
        except RuntimeError as error:
            raise _port_error("port", host, port) from error
        self._bind_admin()
        self._bind_health()
        try:
            self._metrics_server, _ = start_http_server(
                self._settings.metrics_port, host, self._metrics.registry
            )
        except OSError as error:
            raise _port_error("metrics_port", host, self._settings.metrics_port) from error
        self.metrics_port = self._metrics_server.server_port

    def _bind_admin(self) -> None:
        host, port = self._settings.admin_host, self._settings.admin_port
        if port is None:
            return
        _check_free(host, port, option="admin_port")
        self._admin = AdminServer(self.engines, interceptor=self._interceptor())
        try:
            self._admin.listen(host, port, self._new_credentials())
        except RuntimeError as error:
            raise _port_error("admin_port", host, port) from error

    def _bind_health(self) -> None:
        host, port = self._settings.host, self._settings.health_port
        if port is None:
            return
        _check_free(host, port, option="health_port")
        self._health_server = HealthServer(self._health)
        try:
            self._health_port = self._health_server.listen(_address(host, port))
        except RuntimeError as error:
            raise _port_error("health_port", host, port) from error

    def _listen(self, address: str) -> int:
        credentials = self._new_credentials()
        if credentials is None:
            return int(self._server.add_insecure_port(address))
        return int(self._server.add_secure_port(address, credentials))

    def _new_credentials(self) -> Any:
        """Those of one address, as each has to be told of a change; None without TLS."""
        if self._certificates is None:
            return None
        # Kept: gRPC calls back into it and holds no reference.
        self._credentials.append(server_credentials(self._certificates))
        return self._credentials[-1]

    def _describe_bundle(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        self._metrics.images.alarm_budget.set(manifest.alpha)
        self._metrics.bundles.served(manifest.created)
        self._metrics.bundle.info(
            {
                "digest": manifest.digest,
                "schema_version": str(manifest.schema_version),
                "backbone": manifest.backbone.value,
                "created": manifest.created,
            }
        )

    async def _close(self) -> None:
        await self._stop_watching()
        await self.engines.stop(timeout_s=0)
        await self._server.stop(None)
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.close)
        if self._admin is not None:
            await self._admin.stop()
        if self._health_server is not None:
            await self._health_server.stop()
        if self._metrics_server is not None:
            await asyncio.to_thread(self._metrics_server.shutdown)
            self._metrics_server.server_close()
            self._metrics_server = None


async def load_and_serve(settings: Settings, *, ready: Callable[[DetectionServer], None]) -> bool:
    """Load the bundle, serve until SIGTERM or SIGINT, drain.

    Args:
        settings: How to serve.
        ready: Called once calls are taken.

    Returns:
        Whether every accepted call was answered, and no fault of the server's own ended it: after
        one nothing that it holds is to be trusted, and who started the process starts it afresh.

    Raises:
        InvalidInputError: If there is no such device.
        BundleError: If the bundle cannot be loaded.
        StartError: If the server cannot start.
    """
    keep_freed_memory()
    spare_loaded_code()
    run_in_turns()
    if settings.torch_threads:
        torch.set_num_threads(settings.torch_threads)
    # `exact_32_bit` says so around each batch, and takes it back: with two batches at once, as
    # beside a shadow, one would take it back for the other.
    torch.backends.cudnn.allow_tf32 = False
    bundle = load_bundle(settings.bundle, device=chosen_device(settings.device))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    server = await DetectionServer.start(bundle, settings)
    ready(server)
    ends = [asyncio.ensure_future(event.wait()) for event in (stop, server.died)]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        end.cancel()
    return await server.drain() and not server.died.is_set()


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _check_free(host: str, port: int, *, option: str = "port") -> None:
    """Try the address first: gRPC writes lines of its own where it fails."""
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        ):
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        raise _port_error(option, host, port) from error


def _port_error(option: str, host: str, port: int) -> StartError:
    return StartError(
        f"{_address(host, port)} should be an address of this machine with a free port. "
        "Found it in use or not there. "
        f"Choose another with --{option.replace('_', '-')} or OFFPATH_{option.upper()}."
    )
