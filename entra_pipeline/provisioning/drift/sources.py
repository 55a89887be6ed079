"""Which tables hold direct grants, and how a row of each says whose access to what it is.

Nothing here reads anything. Entitlement ids have the forms that the warehouse gives them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Source:
    """One table: SQL over its rows.

    `direct`: which rows are grants of their own. `lists`: the column whose values are grants, each
    for itself; an update of it may give some and take others. `assigned`, `ends`: of PIM.
    """

    table: str
    principal: str
    resource: str
    entitlement: str
    columns: tuple[str, ...]
    direct: str = "true"
    state: str = "active"
    lists: str | None = None
    assigned: str = "NULL"
    ends: str = "NULL"


def _links(table: str, source: str, target: str, form: str, relation: str) -> Source:
    text = f"'{form}:' || {source} || ':{relation}'"
    return Source(table, target, source, text, (source, target))


_SCOPE: Final = "coalesce(directory_scope_id, app_scope_id, '/')"
_DIRECT: Final = "coalesce(lower(member_type), 'direct') = 'direct'"
_ROLE: Final = f"'role:' || role_definition_id || '@' || {_SCOPE}"
_ROLE_COLUMNS: Final = (
    "id",
    "principal_id",
    "role_definition_id",
    "directory_scope_id",
    "app_scope_id",
)
_WINDOW: Final = ("member_type", "assignment_type", "end_date_time")


def _role_pim(table: str, state: str) -> Source:
    return Source(
        table,
        "principal_id",
        "role_definition_id",
        _ROLE,
        (*_ROLE_COLUMNS, *_WINDOW),
        direct=_DIRECT,
        state=state,
        assigned="lower(assignment_type)",
        ends="end_date_time",
    )


def _group_pim(table: str, state: str) -> Source:
    return Source(
        table,
        "principal_id",
        "group_id",
        "'group:' || group_id || ':' || lower(access_id)",
        ("id", "group_id", "principal_id", "access_id", *_WINDOW),
        direct=_DIRECT,
        state=state,
        assigned="lower(assignment_type)",
        ends="end_date_time",
    )


SOURCES: Final[tuple[Source, ...]] = (
    _links("group_members", "group_id", "member_id", "group", "member"),
    _links("group_owners", "group_id", "owner_id", "group", "owner"),
    _group_pim("group_assignment_schedule_instances", "active"),
    _group_pim("group_eligibility_schedule_instances", "eligible"),
    Source("role_assignments", "principal_id", "role_definition_id", _ROLE, _ROLE_COLUMNS),
    _role_pim("role_assignment_schedule_instances", "active"),
    _role_pim("role_eligibility_schedule_instances", "eligible"),
    Source(
        "app_role_assignments",
        "principal_id",
        "resource_id",
        "'app:' || resource_id || ':' || app_role_id",
        ("id", "principal_id", "resource_id", "app_role_id"),
    ),
    Source(
        "license_assignments",
        "user_id",
        "sku_id",
        "'license:' || sku_id",
        ("user_id", "sku_id", "source_group_id"),
        direct="coalesce(source_group_id, '') = ''",
    ),
    Source(
        "oauth2_permission_grants",
        "client_id",
        "resource_id",
        "'delegated:' || resource_id || ':' || value",
        ("id", "client_id", "resource_id", "scopes"),
        lists="scopes",
    ),
    _links("service_principal_owners", "service_principal_id", "owner_id", "app", "owner"),
    _links("application_owners", "application_id", "owner_id", "application", "owner"),
    _links("administrative_unit_members", "unit_id", "member_id", "unit", "member"),
    _links("device_owners", "device_id", "owner_id", "device", "owner"),
)

OBJECTS: Final = (
    "users",
    "groups",
    "service_principals",
    "applications",
    "devices",
    "administrative_units",
)
"""Tables of what can hold access or be held: with a deleted object its grants go."""


def changed(source: Source, key: tuple[str, ...], rows: str) -> str:
    """SQL: the grants that the changes in a relation of the history gave or took."""
    row_key = " || '/' || ".join(key)
    head = (
        f"SELECT '{source.table}' AS source_table, sync_id, \"at\" AS seen_at, {row_key} AS row_key"
    )
    tail = (
        f"{source.principal} AS principal_id, lower({source.resource}) AS resource_id, "
        f"{source.entitlement} AS entitlement_id, '{source.state}' AS state, "
        f"{source.assigned} AS assigned, ({source.ends})::TIMESTAMPTZ AS ends"
    )
    if source.lists is None:
        return (
            f"{head}, CASE operation WHEN 'insert' THEN 'appeared' ELSE 'gone' END AS operation, "
            f"{tail} FROM {rows} WHERE operation <> 'update' AND {source.direct}"
        )
    now, was = source.lists, f"before.{source.lists}"
    parts = {
        "appeared": f"CASE operation WHEN 'insert' THEN {now} WHEN 'update' THEN "
        f"list_filter({now}, lambda x: NOT coalesce(list_contains({was}, x), false)) END",
        "gone": f"CASE operation WHEN 'delete' THEN {now} WHEN 'update' THEN "
        f"list_filter({was}, lambda x: NOT coalesce(list_contains({now}, x), false)) END",
    }
    return " UNION ALL ".join(
        f"{head}, '{name}' AS operation, {tail} FROM "
        f"(SELECT *, unnest({values}) AS value FROM {rows})"
        for name, values in parts.items()
    )
