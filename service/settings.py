"""Everything that can be configured about the server, and the only reader of the environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from detector.errors import OffpathError
from service.campaigns import CampaignPolicy, CampaignRule
from service.security.certificates import CertificateFiles
from service.security.exposure import is_loopback
from service.security.logs import LogFormat, LogLevel
from service.settings_words import expectation, unknown_variable, variable
from service.skipping import Skipping

__all__ = ["Settings", "SettingsError", "load_settings"]

Port = Annotated[int, Field(ge=0, le=65535)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_CAMPAIGNS = CampaignRule()


class SettingsError(OffpathError):
    """A setting has a value that it cannot have, or there is no such setting."""


class Settings(BaseSettings):
    """How the server runs; each field is read from ``OFFPATH_`` and its name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix="OFFPATH_", frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    host: str = "127.0.0.1"
    """Address to listen on, for calls, metrics and health. Only this machine: a host that others
    reach, such as 0.0.0.0, needs `tls_certificate` and `principals`, or `insecure`."""

    port: Port = 50051
    """Port for calls; 0 takes any free one. 50051 is the port that gRPC examples use."""

    metrics_port: Port = 9464
    """Port for Prometheus; 0 takes any free one. 9464 is the registered port of OpenTelemetry's
    Prometheus exporter. Apart from the calls, so that it can stay closed to callers: it speaks
    plain HTTP and asks nobody who they are."""

    health_port: Port | None = None
    """Port for health checks alone, in the clear; 0 takes any free one. Unset: there is none, as
    `port` answers them too. For probes that know no TLS, such as those of Kubernetes."""

    bundle: Path | None = None
    """Folder of the bundle to serve. Unset: the default inside the package."""

    watch_bundle_s: Seconds = 0.0
    """Time between two looks at that folder, seconds; a bundle that takes its place is loaded and
    stands by. 0: never looked at."""

    promote_watched: bool = False
    """Whether a bundle that was found so is promoted as soon as it is warm. Off: it takes somebody
    who calls the admin service."""

    admin_host: str = "127.0.0.1"
    """Address of the admin service. A host that others reach needs `tls_certificate` and
    `principals`, whatever `insecure` says: who changes the bundle decides every verdict."""

    admin_port: Port | None = None
    """Port of the admin service; 0 takes any free one. Unset: there is none."""

    device: str = "auto"
    """Where the network runs: ``cpu``, ``cuda``, ``cuda:1``. ``auto`` takes CUDA where there is."""

    torch_threads: Annotated[int, Field(ge=0)] = 0
    """Threads for one batch on the CPU; 0 leaves the choice to torch, one for each core."""

    skipping: Skipping = Skipping.AUTO
    """Whether closed filters are left out: ``auto``, where warm-up measures that one image gets
    faster by it and the largest batch not slower, or ``off``. Auto: the same gates, class scores
    within rounding, and some seconds of warm-up."""

    batch_sizes: Annotated[tuple[Count, ...], NoDecode] = (1, 2, 4, 8, 12, 16, 24, 32)
    """Sizes of batch that the network sees; smaller ones are padded. Fixed, so that warm-up meets
    every shape; close together, as padding is work for nothing. Ascending."""

    max_batch_passes: Count = 64
    """Most passes of the network in one batch. A level that looks at eight copies needs nine for
    each image: without a bound its batches would hold up everybody nine times as long. 64: a full
    batch of images with one copy each. Never less than a batch of the smallest size."""

    max_queue_delay_s: Seconds = 0.002
    """Longest silence that an incomplete batch waits for more images, seconds, and only where more
    were in flight of late: who calls alone, image by image, never waits. Of the order of one
    image's work and of the time that callers on the same network need to come back."""

    max_queue_images: Count = 1024
    """Most images admitted and not yet answered. 32 full batches: what waits longer than that is
    better sent elsewhere."""

    max_queue_bytes: Count = 256 * 2**20
    """Most bytes of admitted and not yet answered requests, bounding memory. 256 MiB: sixteen
    messages of the largest size."""

    bulk_queue_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Most of the queue, in images and in bytes, that calls of bulk priority may hold, in (0, 1].
    Half: however much bulk comes, interactive calls find the other half to themselves."""

    bulk_patience_s: Seconds = 5.0
    """Wait after which bulk images get one batch in eight, seconds, however many interactive ones
    come; before, they only fill what those leave. Five: shorter than the wait of most callers."""

    max_failed_batches: Count = 3
    """Batches that fail in a row before the server reports NOT_SERVING. One may be its images'
    fault; three are the device's or the network's."""

    probe_interval_s: PositiveSeconds = 1.0
    """Time between the probes that then tell whether batches succeed again, seconds."""

    max_images_per_request: Count = 64
    """Most images in one request; two full batches with one copy of each image, so that no caller
    holds up the others for long."""

    max_message_bytes: Count = 16 * 2**20
    """Largest request and reply, bytes. 16 MiB: 64 raw images of 224 x 224 fit (9.6 MB); gRPC's
    own 4 MiB would refuse them."""

    max_pixels: Count = 16_777_216
    """Largest height times width of one image. 16.8 million: photos of current phones as they are
    shared; decoded 50 MB."""

    decode_threads: Annotated[int, Field(ge=0)] = 0
    """Threads that decode images; 0 for one on each core that the process may use, at most two:
    decoding should not take the cores from the network."""

    drain_delay_s: Seconds = 5.0
    """How long the server still takes calls after SIGTERM, seconds, while it reports NOT_SERVING.
    Five: load balancers and Kubernetes endpoints need a few seconds to look away."""

    drain_timeout_s: PositiveSeconds = 20.0
    """Longest time to finish the queue after that, seconds. With the delay below the 30 seconds
    after which Kubernetes kills."""

    keepalive_time_s: PositiveSeconds = 60.0
    """Silence on a connection after which the server asks whether the caller is there, seconds."""

    keepalive_timeout_s: PositiveSeconds = 20.0
    """How long the answer to that may take before the connection is closed, seconds."""

    max_connection_age_s: PositiveSeconds = 1800.0
    """Age at which a connection is closed once its calls are done, seconds. Half an hour: clients
    have to look up addresses again now and then to find new servers."""

    max_connection_age_grace_s: PositiveSeconds = 30.0
    """How long calls on such a connection may still take, seconds."""

    campaign_policy: CampaignPolicy = CampaignPolicy.OBSERVE
    """What is done about query campaigns, many nearly identical images from one principal, as
    black-box attacks send them: ``off``, ``observe`` (metrics and a line of log), ``flag`` (replies
    say it too) or ``throttle`` (such calls are refused). Observe: it costs some 40 microseconds an
    image, and what is right to do depends on who calls. Callers without a name are told apart by
    address, those on IPv6 by its first 64 bits; behind a proxy they are one principal."""

    campaign_related: Count = _CAMPAIGNS.related
    """Earlier nearly identical images that make a campaign. 32: more versions of one image than
    bursts of cameras and sets of thumbnails have, and black-box attacks have sent them by about
    their hundredth query."""

    campaign_window_queries: Count = _CAMPAIGNS.queries
    """Different images of a principal that are remembered, at some 150 bytes each for the bundled
    network. 1000: to hide, an attacker has to send thirty others with each query."""

    campaign_window_s: PositiveSeconds = _CAMPAIGNS.window_s
    """How long they are remembered, seconds."""

    campaign_path_share: Share = _CAMPAIGNS.path_share
    """Largest share of gates in which nearly identical images differ. Measured on the bundled
    network: most images differ less from themselves with weak noise or moved by one pixel, as do
    two of a hundred pairs of unrelated images of one class."""

    campaign_pixel_change: Share = _CAMPAIGNS.pixel_change
    """Largest mean change over the cells of their thumbnails, in [0, 1] pixel scale. More than
    attacks with an epsilon of 8/255 do, and less than lies between two images of one motif."""

    campaign_principals: Count = 256
    """Principals that are remembered; who was silent longest is forgotten first. 256: with full
    windows 40 MB."""

    campaign_exempt_principals: Annotated[frozenset[str], NoDecode] = frozenset()
    """Principals that are not watched: those that send frames of still cameras, or sweeps of small
    changes, which cannot be told from a campaign. Where callers have no names, their addresses."""

    watch_drift: bool = True
    """Whether to look for drift: whether unsuspicious images still score as calibration images do.
    On: it costs some 15 microseconds an image, and the promise says nothing about other traffic."""

    drift_delta: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Probability that traffic like the calibration images ever raises the alarm, however long the
    server runs. One in a thousand: a tenth of it would cost little, 2.3 nats of evidence beside the
    17 that drift takes anyway, and a false alarm costs a calibration."""

    drift_principal_share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Most of the traffic that one principal counts for, so that an attack by a few is not taken
    for drift of all; with fewer than ten principals that send, an equal share for each. Principals
    are those of campaigns."""

    tls_certificate: Path | None = None
    """PEM file with the server's certificate and its chain. Unset: no TLS. This and the next three
    are read again when they change; what cannot be used keeps what was loaded before."""

    tls_key: Path | None = None
    """PEM file with the certificate's key, without a password."""

    tls_client_ca: Path | None = None
    """PEM file with the roots of callers' certificates, which are then obligatory. Unset: callers
    need none."""

    principals: Path | None = None
    """TOML file of the callers that are let in, their rights and quotas, as `offpath token` begins
    it and service/security/principals_file.py describes it. Unset: everybody, with all rights."""

    insecure: bool = False
    """Whether a host that others reach may do without TLS or without principals. Off: that takes
    somebody who has thought of a proxy or a network that does their work."""

    trace_endpoint: Annotated[str, Field(pattern=r"^https?://[^/\s]+$")] | None = None
    """Where OpenTelemetry traces of calls go: a receiver of OTLP over gRPC, such as
    ``http://127.0.0.1:4317``; ``https://`` for TLS. Unset: no traces. Needs the extra ``trace``.
    Health checks and reflection are left out; OpenTelemetry's own variables, such as
    OTEL_TRACES_SAMPLER, say the rest."""

    log_format: LogFormat = LogFormat.TEXT
    """``text`` for people, ``json`` for programs: one object a line, one line for each call."""

    log_level: LogLevel = LogLevel.INFO
    """Least level that is logged: ``debug``, ``info``, ``warning`` or ``error``. ``info`` has a
    line for each call; ``warning`` leaves only what is out of order."""

    def certificate_files(self) -> CertificateFiles | None:
        """Where the server's certificate lies; None without TLS."""
        if self.tls_certificate is None or self.tls_key is None:
            return None
        return CertificateFiles(
            certificate=self.tls_certificate, key=self.tls_key, client_ca=self.tls_client_ca
        )

    def batch_sizes_of(self, passes: int) -> tuple[int, ...]:
        """Sizes of batch where each image takes so many passes: those within the bound.

        Args:
            passes: Passes of the network for each image, at least 1.
        """
        fitting = (size for size in self.batch_sizes if size * passes <= self.max_batch_passes)
        return tuple(fitting) or self.batch_sizes[:1]

    def campaign_rule(self) -> CampaignRule:
        """What a query campaign is."""
        return CampaignRule(
            related=self.campaign_related,
            queries=self.campaign_window_queries,
            window_s=self.campaign_window_s,
            path_share=self.campaign_path_share,
            pixel_change=self.campaign_pixel_change,
        )

    @field_validator("batch_sizes", "campaign_exempt_principals", mode="before")
    @classmethod
    def _read_list(cls, value: object) -> object:
        """A list as a variable holds it; read here, as pydantic-settings would hide the value."""
        return json.loads(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.batch_sizes or list(self.batch_sizes) != sorted(set(self.batch_sizes)):
            raise ValueError(
                "OFFPATH_BATCH_SIZES should be a JSON list that ascends, such as [1, 2, 4]. "
                f"Found {list(self.batch_sizes)}."
            )
        if self.max_images_per_request > self.max_queue_images:
            raise ValueError(
                "OFFPATH_MAX_QUEUE_IMAGES should be at least OFFPATH_MAX_IMAGES_PER_REQUEST, so "
                "that a largest request fits, such as 1024 and 64. "
                f"Found {self.max_queue_images} and {self.max_images_per_request}."
            )
        if self.max_message_bytes > self.max_queue_bytes:
            raise ValueError(
                "OFFPATH_MAX_QUEUE_BYTES should be at least OFFPATH_MAX_MESSAGE_BYTES, so that a "
                "largest request fits, such as 268435456 and 16777216. "
                f"Found {self.max_queue_bytes} and {self.max_message_bytes}."
            )
        if self.campaign_related >= self.campaign_window_queries:
            raise ValueError(
                "OFFPATH_CAMPAIGN_RELATED should be less than OFFPATH_CAMPAIGN_WINDOW_QUERIES, as "
                "only what is remembered can be related, such as 32 and 1000. "
                f"Found {self.campaign_related} and {self.campaign_window_queries}."
            )
        return self

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError(
                "OFFPATH_TLS_CERTIFICATE and OFFPATH_TLS_KEY should come together, such as "
                "cert.pem and key.pem. Found one of them."
            )
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError(
                "OFFPATH_TLS_CLIENT_CA should come with OFFPATH_TLS_CERTIFICATE and "
                "OFFPATH_TLS_KEY, such as ca.pem with cert.pem and key.pem. Found it alone."
            )
        guarded = self.tls_certificate is not None and self.principals is not None
        if not (guarded or self.insecure or is_loopback(self.host)):
            raise ValueError(
                "OFFPATH_HOST that others reach should come with OFFPATH_TLS_CERTIFICATE, "
                "OFFPATH_TLS_KEY and OFFPATH_PRINCIPALS, such as cert.pem, key.pem and "
                f"principals.toml. Found {self.host} without. Give them (--tls-certificate, "
                "--tls-key, --principals), take 127.0.0.1, or set OFFPATH_INSECURE=true "
                "(--insecure) where something in front does their work."
            )
        return self

    @model_validator(mode="after")
    def _administered(self) -> Self:
        guarded = self.tls_certificate is not None and self.principals is not None
        if self.admin_port is not None and not (guarded or is_loopback(self.admin_host)):
            raise ValueError(
                "OFFPATH_ADMIN_HOST that others reach should come with OFFPATH_TLS_CERTIFICATE, "
                "OFFPATH_TLS_KEY and OFFPATH_PRINCIPALS, such as cert.pem, key.pem and "
                f"principals.toml. Found {self.admin_host} without. Give them, or take 127.0.0.1."
            )
        if self.watch_bundle_s and self.admin_port is None and not self.promote_watched:
            raise ValueError(
                "OFFPATH_WATCH_BUNDLE_S should come with OFFPATH_ADMIN_PORT, such as 50052, or "
                "with OFFPATH_PROMOTE_WATCHED=true: what it loads could else never be promoted. "
                f"Found {self.watch_bundle_s:g} alone."
            )
        return self


def load_settings(**given: object) -> Settings:
    """The settings from the environment; what is given and not None comes first.

    Raises:
        SettingsError: If one has a value that it cannot have, or a variable that begins with
            ``OFFPATH_`` is no setting.
    """
    unknown = unknown_variable(os.environ, Settings.model_fields)
    if unknown is not None:
        raise SettingsError(unknown)
    chosen = {name: value for name, value in given.items() if value is not None}
    try:
        return Settings(**chosen)  # type: ignore[arg-type]  # pydantic checks the values
    except ValidationError as error:
        raise SettingsError(_told(error, chosen)) from error


def _told(error: ValidationError, chosen: Mapping[str, object]) -> str:
    """The first thing that is wrong, by the name under which it was given."""
    first = error.errors(include_url=False)[0]
    if not first["loc"]:  # two settings that do not go together: our own words
        return str(first["ctx"]["error"])
    name = str(first["loc"][0])
    written = {each.upper(): value for each, value in os.environ.items()}
    given = variable(name)
    found = chosen.get(name, written.get(given))
    if name in chosen:
        given = f"--{name.replace('_', '-')} ({given})"
    return f"{given} should be {expectation(Settings, name)}. Found {found!r}."
