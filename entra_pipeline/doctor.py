"""Would a sync run? Checks of everything it needs, each with its remedy.

Belongs here: the checks and what their outcome means. Does not belong here: printing (`cli`),
opening Dagster's storage (handed in as a callable, so that this module needs no orchestrator).

Nothing is changed: the data directory is not made, no lock is taken.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from entra_pipeline.lake import DataDirectory, LakeError
from entra_pipeline.msgraph import BatchItem, Claims, GraphClient, GraphError, Service
from entra_pipeline.msgraph.errors import ForbiddenError, UnlicensedError, UnsupportedError
from entra_pipeline.settings import Settings, SettingsError
from entra_pipeline.tables import TABLES, Table

State = Literal["ok", "warning", "failed", "skipped"]

METERED = "doctor"
"""Name under which the client counts these requests."""
SKEW_WARNING_S = 30.0
SKEW_FAILED_S = 300.0
"""Microsoft tolerates five minutes between a token's times and its own clock."""
P1_PLAN = "41781fb2-bc02-4b7c-bd55-b576c07bb09d"
P2_PLAN = "eec0eb4f-6444-4f95-aba0-50c24d67f998"
"""Service plans AAD_PREMIUM and AAD_PREMIUM_P2:
https://learn.microsoft.com/entra/identity/users/licensing-service-plan-reference."""
_NAMES = {"p1": "Microsoft Entra ID P1", "p2": "Microsoft Entra ID P2"}


@dataclass(frozen=True)
class Check:
    """One line: what was looked at, how it is, and what to do about it."""

    name: str
    state: State
    summary: str
    remedy: str | None = None


@dataclass(frozen=True)
class Diagnosis:
    """All checks; a sync can run unless one of them failed."""

    checks: list[Check]

    @property
    def can_sync(self) -> bool:
        """Whether nothing stands in the way of a sync."""
        return all(check.state != "failed" for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """`{"checks": [{"name", "state", "summary", "remedy"}], "can_sync"}`."""
        return {"checks": [asdict(check) for check in self.checks], "can_sync": self.can_sync}


def diagnose(
    settings: Settings,
    *,
    dagster_storage: Callable[[], str] | None = None,
    client: GraphClient | None = None,
) -> Diagnosis:
    """Check everything a sync needs.

    `dagster_storage` opens Dagster's storage and says which it is; whatever it raises is shown.
    `client` replaces the one made from the settings.
    """
    checks = list(_settings(settings))
    graph = client
    if graph is None:
        # A person waits for this: fail sooner than a sync would.
        brief = settings.model_copy(
            update={
                "max_attempts": min(settings.max_attempts, 3),
                "max_wait_seconds": min(settings.max_wait_seconds, 20.0),
                "read_timeout_seconds": min(settings.read_timeout_seconds, 30.0),
            }
        )
        try:
            graph = GraphClient.from_settings(brief)
        except SettingsError as error:
            checks += [Check("settings", "failed", line) for line in error.messages]
    checks += _graph(settings, graph)
    if settings.provisioning:
        from entra_pipeline.provisioning.checking import checks as provisioning_checks

        checks += [Check(*each) for each in provisioning_checks(settings)]
    elif settings.exchange:
        from entra_pipeline.provisioning.checking import lists_read

        checks.append(Check(*lists_read(settings)))
    checks.append(_data_directory(settings))
    checks.append(_dagster(dagster_storage))
    if graph is not None and graph is not client:
        graph.close()
    return Diagnosis(checks)


def _settings(settings: Settings) -> Iterable[Check]:
    yield Check(
        "settings",
        "ok",
        f"tenant {settings.tenant_id}, credential {settings.auth_kind}, cloud {settings.cloud}",
    )
    for line in settings.warnings:
        yield Check("settings", "warning", line, "Correct or remove it; docs/settings.md has all.")


_LATER = ("clock", "permissions", "licence", "cloud features")


def _graph(settings: Settings, client: GraphClient | None) -> list[Check]:
    if client is None:
        return [Check(name, "skipped", "needs a token") for name in ("token", *_LATER)]
    try:
        claims = client.token_claims()
    except (GraphError, SettingsError) as error:
        failed = Check(
            "token", "failed", str(error), "README, section on connecting a tenant, has the steps."
        )
        return [failed, *(Check(name, "skipped", "needs a token") for name in _LATER)]
    try:
        found = _probe(client)
    except GraphError as error:
        unreachable = Check(
            "Microsoft Graph",
            "failed",
            str(error),
            "Check the network, the proxy and ENTRA_GRAPH_URL.",
        )
        return [_token(settings, claims), _permissions(settings, claims), unreachable]
    return [
        _token(settings, claims),
        _clock(client),
        _permissions(settings, claims),
        _licence(settings, client, found),
        _cloud_features(settings, found),
    ]


def _token(settings: Settings, claims: Claims) -> Check:
    wanted = settings.tenant_id.lower()
    if claims.tenant_id and "." not in wanted and claims.tenant_id.lower() != wanted:
        return Check(
            "token",
            "failed",
            f"the token is for tenant {claims.tenant_id}, not for {settings.tenant_id}",
            "Set ENTRA_TENANT_ID to the tenant that the credential belongs to.",
        )
    until = f", valid until {claims.expires_at:%H:%M} UTC" if claims.expires_at else ""
    who = "the application's own" if claims.is_app else "a signed-in user's"
    return Check("token", "ok", f"{who}{until}")


def _clock(client: GraphClient) -> Check:
    skew = client.clock_skew_s()
    if skew is None:
        return Check("clock", "skipped", "Graph's answers carry no date")
    summary = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} Microsoft Graph"
    if abs(skew) <= SKEW_WARNING_S:
        return Check("clock", "ok", summary)
    state: State = "failed" if abs(skew) > SKEW_FAILED_S else "warning"
    return Check("clock", state, summary, "Set this machine's clock by NTP.")


def _wanted(settings: Settings) -> list[Table]:
    """Tables that this installation reads."""
    return [
        table
        for table in TABLES.values()
        if table.permissions
        and (settings.sign_in_activity or table.name != "user_sign_in_activity")
    ]


def _permissions(settings: Settings, claims: Claims) -> Check:
    wanted = _wanted(settings)
    lacking: dict[tuple[str, ...], list[str]] = {}
    for table in wanted:
        missing = table.missing_permissions(claims.permissions)
        if missing:
            lacking.setdefault(missing, []).append(table.name)
    if not lacking:
        return Check("permissions", "ok", f"sufficient for all {len(wanted)} tables")
    parts = [f"{' and '.join(names)} for {', '.join(t)}" for names, t in lacking.items()]
    summary = f"missing: {'; '.join(parts)}"
    kind = "application" if claims.is_app else "delegated"
    everything = sum(map(len, lacking.values())) == len(wanted)
    return Check(
        "permissions",
        "failed" if everything else "warning",
        summary,
        f"Grant these Microsoft Graph {kind} permissions to the app registration and consent as "
        "an administrator; these tables stay unknown until then.",
    )


def _probe(client: GraphClient) -> dict[str, GraphError | None]:
    """What Graph says to the smallest request of each collection, by path."""
    paths = sorted({t.path for t in TABLES.values() if t.path and "{" not in t.path})
    found: dict[str, GraphError | None] = {}
    for start in range(0, len(paths), 20):
        items = [BatchItem(path, f"{path}?$top=1") for path in paths[start : start + 20]]
        for result in client.batch(items, table=METERED, service=Service.GOVERNANCE):
            found[result.id] = result.error
    return found


class _Plan(msgspec.Struct):
    servicePlanId: str = ""  # noqa: N815 - Graph's name


class _Sku(msgspec.Struct):
    capabilityStatus: str = ""  # noqa: N815 - Graph's name
    servicePlans: list[_Plan] = []  # noqa: N815 - Graph's name


class _Skus(msgspec.Struct):
    value: list[_Sku]


def _licence(settings: Settings, client: GraphClient, found: dict[str, GraphError | None]) -> Check:
    level = _level(client, found)
    if level is None:
        return Check(
            "licence",
            "skipped",
            "not known: subscribed licences cannot be read",
            "Grant LicenseAssignment.Read.All to have this checked.",
        )
    have = {"p2": {"p1", "p2"}, "p1": {"p1"}, "free": set[str]()}[level]
    name = _NAMES.get(level, "Microsoft Entra ID Free")
    without = [t.name for t in _wanted(settings) if t.license and t.license not in have]
    if not without:
        return Check("licence", "ok", name)
    return Check(
        "licence",
        "warning",
        f"{name}: {', '.join(without)} will be unlicensed",
        "Nothing to do if that is right; what rests on these tables stays unknown.",
    )


def _level(client: GraphClient, found: dict[str, GraphError | None]) -> str | None:
    try:
        skus = msgspec.json.decode(client.get("/subscribedSkus", table=METERED), type=_Skus).value
    except (GraphError, msgspec.DecodeError):
        return _level_by_refusals(found)
    plans = {
        plan.servicePlanId
        for sku in skus
        # A licence in its grace period still counts.
        if sku.capabilityStatus in {"Enabled", "Warning"}
        for plan in sku.servicePlans
    }
    return "p2" if P2_PLAN in plans else "p1" if P1_PLAN in plans else "free"


def _level_by_refusals(found: dict[str, GraphError | None]) -> str | None:
    refused = {
        table.license
        for table in TABLES.values()
        if isinstance(found.get(table.path), UnlicensedError)
    }
    return "free" if "p1" in refused else "p1" if "p2" in refused else None


def _cloud_features(settings: Settings, found: dict[str, GraphError | None]) -> Check:
    absent = [
        table.name
        for table in _wanted(settings)
        if settings.cloud in table.absent_clouds
        or isinstance(found.get(table.path), UnsupportedError)
    ]
    if absent:
        return Check(
            "cloud features",
            "warning",
            f"cloud {settings.cloud} does not have {', '.join(absent)}",
            "Nothing to do; what rests on these tables stays unknown.",
        )
    answered = [path for path, error in found.items() if not isinstance(error, ForbiddenError)]
    return Check(
        "cloud features", "ok", f"{len(answered)} of {len(found)} collections asked, all there"
    )


def _data_directory(settings: Settings) -> Check:
    name, path = "data directory", settings.data_dir.absolute()
    remedy = "Give another directory in ENTRA_DATA_DIR, or mend its permissions."
    if not path.exists():
        parent = next(p for p in path.parents if p.exists())
        if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
            return Check(name, "ok", f"{path} will be made by the first sync")
        return Check(name, "failed", f"{path} cannot be made in {parent}", remedy)
    if not path.is_dir() or not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return Check(name, "failed", f"{path} is not a directory that can be written", remedy)
    return _claimed(settings, path)


def _claimed(settings: Settings, path: Path) -> Check:
    name = "data directory"
    if not (path / "tenant.json").exists():
        return Check(name, "ok", f"{path} is new")
    try:
        directory = DataDirectory.existing(path)
        locked, holder = directory.is_locked(), directory.holder()
    except (LakeError, OSError) as error:
        return Check(name, "failed", str(error), "Give another directory in ENTRA_DATA_DIR.")
    if directory.tenant_id != settings.tenant_id.lower():
        return Check(
            name,
            "failed",
            f"{path} belongs to tenant {directory.tenant_id}, not to {settings.tenant_id}",
            "Give each tenant a directory of its own (ENTRA_DATA_DIR).",
        )
    if locked:
        return Check(
            name,
            "warning",
            f"{path} is being synced by {holder or 'another process'}",
            "Wait for it to end, or stop it.",
        )
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        return Check(
            name, "warning", f"{path} is open to others", f"chmod 700 {path} (a sync does it too)"
        )
    return Check(name, "ok", str(path))


def _dagster(storage: Callable[[], str] | None) -> Check:
    name = "Dagster storage"
    if storage is None:
        return Check(name, "skipped", "not asked about")
    try:
        return Check(name, "ok", storage())
    except Exception as error:
        # Whatever a storage raises: its owner has worded it.
        return Check(name, "failed", str(error), "Correct dagster.yaml or DAGSTER_HOME.")
