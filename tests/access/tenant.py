"""A tenant written by hand, as the rows of its tables, and the warehouse built from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from entra_pipeline import tables
from entra_pipeline.access import build
from entra_pipeline.lake.books import Counters, Outcome, SyncRecord, TableStatus
from entra_pipeline.lake.events import Events
from entra_pipeline.tables import Status

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
ZERO = "00000000-0000-0000-0000-000000000000"


SYNC = SyncRecord("s1", "full", NOW, NOW, Outcome.SUCCEEDED, ("users",), {"users": 3}, Counters())


@dataclass
class Tenant:
    """Rows by table; every method adds some and gives the tenant back."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    statuses: dict[str, TableStatus] = field(
        default_factory=lambda: {
            name: TableStatus(name, Status.COMPLETE, as_of=NOW)
            for name, table in tables.TABLES.items()
            if table.group == "directory"
        }
    )

    def add(self, table: str, **row: Any) -> Tenant:
        self.rows.setdefault(table, []).append(row)
        return self

    def users(self, *ids: str) -> Tenant:
        for user in ids:
            self.add(
                "users",
                id=user,
                display_name=f"User {user}",
                user_principal_name=f"{user}@contoso.example",
                user_type="Member",
                account_enabled=True,
            )
        return self

    def groups(self, *ids: str, **more: Any) -> Tenant:
        for group in ids:
            self.add("groups", id=group, display_name=f"Group {group}", **more)
        return self

    def members(self, group: str, *ids: str) -> Tenant:
        for member in ids:
            self.add("group_members", group_id=group, member_id=member, member_kind="unknown")
        return self

    def role(self, role: str, *holders: str, scope: str = "/") -> Tenant:
        known = {row["id"] for row in self.rows.get("role_definitions", [])}
        if role not in known:
            self.add("role_definitions", id=role, display_name=f"Role {role}", tier=0)
        for holder in holders:
            self.add(
                "role_assignments",
                id=f"{role}-{holder}-{scope}",
                principal_id=holder,
                role_definition_id=role,
                directory_scope_id=scope,
            )
        return self

    def eligible_role(self, role: str, holder: str, **more: Any) -> Tenant:
        return self.add(
            "role_eligibility_schedule_instances",
            **{
                "id": f"re-{role}-{holder}-{len(self.rows)}",
                "principal_id": holder,
                "role_definition_id": role,
                "directory_scope_id": "/",
                "member_type": "Direct",
            }
            | more,
        )

    def eligible_member(self, group: str, holder: str, **more: Any) -> Tenant:
        return self.add(
            "group_eligibility_schedule_instances",
            **{
                "id": f"ge-{group}-{holder}-{more.get('access_id', 'member')}",
                "group_id": group,
                "principal_id": holder,
                "access_id": "member",
                "member_type": "direct",
            }
            | more,
        )

    def app(self, app: str, *, required: bool = True, kind: str = "Application") -> Tenant:
        return self.add(
            "service_principals",
            id=app,
            app_id=f"client-of-{app}",
            display_name=f"App {app}",
            service_principal_type=kind,
            account_enabled=True,
            app_role_assignment_required=required,
        )

    def app_role(
        self, app: str, role: str, *holders: str, to: tuple[str, ...] = ("User",)
    ) -> Tenant:
        if role != ZERO:
            self.add(
                "app_roles",
                resource_id=app,
                id=role,
                value=role,
                display_name=f"May {role}",
                allowed_member_types=list(to),
                is_enabled=True,
            )
        for holder in holders:
            self.add(
                "app_role_assignments",
                id=f"{app}-{role}-{holder}",
                resource_id=app,
                app_role_id=role,
                principal_id=holder,
            )
        return self

    def unread(self, table: str, status: Status, reason: str | None = None) -> Tenant:
        self.statuses[table] = TableStatus(table, status, reason=reason)
        return self

    def build(self, stage: Path, events: Events | None = None, *, described: bool = False) -> Path:
        """Write the tables as Parquet, build the warehouse, give its path."""
        stage.parent.mkdir(parents=True, exist_ok=True)
        files: dict[str, list[str]] = {}
        for name, rows in self.rows.items():
            path = stage.parent / f"{name}.parquet"
            pq.write_table(pa.Table.from_pylist(rows, tables.get(name).schema()), path)
            files[name] = [str(path)]
        build.build(
            stage,
            files,
            self.statuses,
            syncs=[SYNC],
            now=NOW,
            events=events,
            described=described,
        )
        return stage
