"""`offpath admin`: change the bundle of a running server."""

# ruff: noqa: PLC0415  # commands import late: help and errors should not wait for grpc

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from service.admin_results import BundlePlace, LoadedBundles, ShadowSummary
from service.security.options import (
    CaOption,
    CertificateOption,
    KeyOption,
    TlsOption,
    TokenFileOption,
    credentials_of,
)

if TYPE_CHECKING:
    from service.admin_client import AdminClient

__all__ = ["AdminAction", "admin"]

_SHOWN_DIGITS = 12
_TO_THE_MINUTE = len("2020-08-23T00:00")


class AdminAction(StrEnum):
    """What to do."""

    LIST = "list"
    LOAD = "load"
    SHADOW = "shadow"
    PROMOTE = "promote"
    ROLL_BACK = "roll-back"
    UNLOAD = "unload"
    RESET_DRIFT = "reset-drift"


_TARGETS = {
    AdminAction.LOAD: "the folder of a bundle",
    AdminAction.SHADOW: "a share of the calls, in [0, 1]",
    AdminAction.PROMOTE: "the begin of a digest",
    AdminAction.UNLOAD: "the begin of a digest",
}


def admin(
    *,
    action: Annotated[AdminAction, typer.Argument(help="What to do.", show_choices=True)],
    target: Annotated[
        str | None,
        typer.Argument(
            help="load: a folder on the server's machine. shadow: a share of the calls. promote, "
            "unload: the begin of a digest.",
            metavar="[FOLDER|SHARE|DIGEST]",
        ),
    ] = None,
    server: Annotated[str, typer.Option(help="Where the admin service is.", metavar="HOST:PORT")],
    report: Annotated[
        Path | None,
        typer.Option(
            help="promote: report.json of that bundle, as evaluate writes it. Refused where a "
            "figure fell. Needs --against.",
            metavar="FILE",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            help="report.json of the bundle that answers now, under the same plan.", metavar="FILE"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    timeout_s: Annotated[
        float, typer.Option(min=0.001, help="Longest wait for the server, seconds.")
    ] = 300.0,
    ca: CaOption = None,
    tls: TlsOption = False,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Change the bundle of a running server, and no call is lost.

    list what is loaded · load a bundle beside the active one · shadow: let it judge a share of the
    calls as well, and count where it differs; it takes one call at a time and yields under load, so
    that it then judges less than its share · promote it · roll-back to the one before · unload
    one that does not answer · reset-drift: look for drift anew, once its cause is gone.

    With --report and --against, promote asks the release gate first: no figure of the new bundle
    may have fallen by more than chance against the one that answers.

    The server needs an admin address: offpath serve --admin-port PORT.
    """
    from service.admin_client import AdminClient

    if (target is None) is (action in _TARGETS):
        wanted = _TARGETS.get(action, "nothing")
        raise typer.BadParameter(f"{action} should be followed by {wanted}")
    reports = _reports(action, report, against)
    credentials = credentials_of(
        ca=ca, tls=tls, certificate=certificate, key=key, token_file=token_file
    )
    with AdminClient(server, credentials=credentials, timeout_s=timeout_s) as client:
        if reports is not None:
            target = _checked_digest(client, target or "", reports)
        loaded = _done(client, action, target or "")
    if as_json:
        typer.echo(json.dumps(asdict(loaded), indent=2))
        return
    console = Console()
    console.print(_table(loaded))
    if loaded.asked:
        console.print(_asked_line(loaded))
    for each in loaded.bundles:
        if each.drift_found:
            console.print(
                f"Drift found for {each.digest[:_SHOWN_DIGITS]} at {each.drift_found}: "
                "its false-alarm promise is withdrawn"
            )
    if loaded.shadow.share or loaded.shadow.calls:
        console.print(_shadow_line(loaded.shadow))


def _reports(
    action: AdminAction, report: Path | None, against: Path | None
) -> tuple[Path, Path] | None:
    """The new bundle's report and that of the one that answers, where both are given."""
    if report is None and against is None:
        return None
    if action is not AdminAction.PROMOTE:
        raise typer.BadParameter(f"{action} should come without --report and --against")
    if report is None or against is None:
        raise typer.BadParameter("--report and --against should be given together")
    return report, against


def _checked_digest(client: AdminClient, begin: str, reports: tuple[Path, Path]) -> str:
    """The whole digest that the reports allow to promote: no other bundle can take its place."""
    from service.promotion_gate import check_promotion

    report, against = reports
    loaded = client.bundles()
    digest = _whole(loaded, begin)
    check_promotion(digest=digest, report=report, active=loaded.bundles[0].digest, against=against)
    return digest


def _done(client: AdminClient, action: AdminAction, target: str) -> LoadedBundles:
    calls: dict[AdminAction, Callable[[], LoadedBundles]] = {
        AdminAction.LIST: client.bundles,
        AdminAction.LOAD: lambda: client.load(Path(target).absolute()),
        AdminAction.SHADOW: lambda: client.shadow(_share(target)),
        AdminAction.PROMOTE: lambda: client.promote(_whole(client.bundles(), target)),
        AdminAction.ROLL_BACK: client.roll_back,
        AdminAction.UNLOAD: lambda: client.unload(_whole(client.bundles(), target)),
        AdminAction.RESET_DRIFT: client.reset_drift,
    }
    return calls[action]()


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(f"shadow should be followed by a share, not {text!r}") from error


def _whole(loaded: LoadedBundles, begin: str) -> str:
    """The digest that begins so; what is ambiguous or unknown is for the server to refuse."""
    found = [each.digest for each in loaded.bundles if each.digest.startswith(begin)]
    return found[0] if len(found) == 1 else begin


def _table(loaded: LoadedBundles) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title in ("place", "digest", "created", "backbone"):
        table.add_column(title, no_wrap=True)
    for title in ("alpha", "pending"):
        table.add_column(title, justify="right", no_wrap=True)
    for each in loaded.bundles:
        table.add_row(
            each.place,
            each.digest[:_SHOWN_DIGITS],
            each.created[:_TO_THE_MINUTE],
            each.backbone,
            f"{each.alpha:g}",
            str(each.pending_images),
        )
    return table


def _asked_line(loaded: LoadedBundles) -> str:
    """What became of the bundle that was to be loaded; where it was loaded already, nothing did."""
    shown = loaded.asked[:_SHOWN_DIGITS]
    match next((each.place for each in loaded.bundles if each.digest == loaded.asked), None):
        case BundlePlace.ACTIVE:
            return f"{shown} already answers: nothing was loaded"
        case BundlePlace.PREVIOUS:
            return (
                f"{shown} is the previous one: nothing was loaded; roll-back lets it answer again"
            )
        case BundlePlace.STANDBY:
            return f"{shown} stands by: shadow lets it judge as well, promote lets it answer"
        case _:
            return f"{shown} was loaded, and another has taken its place since"


def _shadow_line(shadow: ShadowSummary) -> str:
    mean = shadow.mean_p_value_difference
    difference = "" if mean is None else f", p-values apart by {mean:.3f} on average"
    return (
        f"Shadow of {shadow.share:.0%}: {shadow.images} images in {shadow.calls} calls, "
        f"{shadow.class_disagreements} with another class, {shadow.verdict_disagreements} with "
        f"another verdict{difference}; {shadow.dropped_calls} calls left out "
        f"as it yields under load, {shadow.failed_calls} failed"
    )
