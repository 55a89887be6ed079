"""A very large tenant as Parquet, for measuring access without HTTP.

``python -m benchmarks.access_data DIR [--users N --groups N --memberships N]`` writes the tables
that access rests on, sorted by key as the lake stores them. Shapes are those of large tenants:
one group holds everybody, group sizes fall off as a power of their rank, groups nest some levels
deep with a few cycles, most app roles are granted to people and the effective ones by groups.
Everything follows from the numbers: the same arguments give the same tenant.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path

import duckdb

# Memberships that groups of rank r bring: the largest after "everybody" has some 5 % of all users.
EXPONENT = 0.75

STATEMENTS = {
    "users": """
        SELECT uid(1, i) AS id, 'user' || i || '@contoso.example' AS user_principal_name,
               'user' || i || '@contoso.example' AS mail, 'First' || i % 5000 || ' Last' || i
               AS display_name, 'First' || i % 5000 AS given_name, 'Last' || i AS surname,
               CASE WHEN i % 20 = 0 THEN 'Guest' ELSE 'Member' END AS user_type,
               i % 15 <> 0 AS account_enabled, uid(1, i // 10) AS manager_id,
               'Department ' || i % 300 AS department, 'Job ' || i % 900 AS job_title,
               ['SE', 'DE', 'US', 'JP'][i % 4 + 1] AS usage_location,
               TIMESTAMPTZ '2015-01-01 00:00:00Z' + to_minutes(i) AS created_date_time
        FROM range($users) r(i) ORDER BY id""",
    "groups": """
        SELECT uid(2, i) AS id, 'Group ' || i AS display_name, 'security' AS kind,
               i % 20 = 1 AS is_dynamic, true AS security_enabled, false AS mail_enabled,
               i BETWEEN 1000 AND 1300 AS is_assignable_to_role,
               TIMESTAMPTZ '2016-01-01 00:00:00Z' + to_minutes(i) AS created_date_time
        FROM range($groups) r(i) ORDER BY id""",
    "group_members": """
        SELECT group_id, member_id, member_kind FROM (
            -- People: everybody in group 0, then sizes by rank, members spread by a stride.
            SELECT uid(2, g) AS group_id, uid(1, (g * 7919 + k * (2 * (g % 997) + 1)) % $users)
                   AS member_id, 'user' AS member_kind
            FROM (
                SELECT g, CASE WHEN g = 0 THEN $users ELSE least(
                    $users // 20,
                    greatest(1, ($memberships - $users) / $harmonic / pow(g, $exponent))
                )::BIGINT END AS size
                FROM range($groups) s(g)
            ), range(size) t(k)
            UNION
            -- Groups: about one in nine is inside another, in trees some levels deep.
            SELECT uid(2, 50 + (g * 31) % ($groups // 6)), uid(2, g), 'group'
            FROM range(100, $groups) s(g)
            WHERE g % 9 = 0 AND 50 + (g * 31) % ($groups // 6) < g
            UNION
            -- Cycles of three.
            SELECT uid(2, 2000 + 10 * c + j), uid(2, 2000 + 10 * c + (j + 1) % 3), 'group'
            FROM range(20) s(c), range(3) t(j)
        ) ORDER BY group_id, member_id""",
    "group_owners": """
        SELECT uid(2, g) AS group_id, uid(1, (g * 13) % $users) AS owner_id, 'user' AS owner_kind
        FROM range($groups) s(g) ORDER BY group_id""",
    "service_principals": """
        SELECT uid(3, i) AS id, uid(4, i) AS app_id, 'Application ' || i AS display_name,
               CASE WHEN i % 10 = 9 THEN 'ManagedIdentity' ELSE 'Application' END
               AS service_principal_type, true AS account_enabled,
               i % 3 = 0 AS app_role_assignment_required
        FROM range(10000) s(i) ORDER BY id""",
    "app_roles": """
        SELECT uid(3, i) AS resource_id, uid(5, i * 3 + k) AS id, 'role' || k AS value,
               'Role ' || k AS display_name, ['User'] AS allowed_member_types, true AS is_enabled
        FROM range(10000) s(i), range(3) t(k) ORDER BY resource_id, id""",
    "app_role_assignments": """
        SELECT uid(6, i) AS id, uid(3, i % 10000) AS resource_id,
               uid(5, (i % 10000) * 3 + i // 10000 % 3) AS app_role_id,
               CASE WHEN i < 10000 AND i % 80 = 0 THEN uid(2, 0)  -- everybody's applications
                    WHEN i % 5 = 0 THEN uid(2, 1 + (i * 17) % ($groups - 1))
                    ELSE uid(1, (i * 101) % $users) END AS principal_id,
               CASE WHEN i < 10000 AND i % 80 = 0 THEN uid(2, 0)  -- everybody's applications
                    WHEN i % 5 = 0 THEN 'Group' ELSE 'User' END AS principal_type,
               TIMESTAMPTZ '2020-01-01 00:00:00Z' + to_minutes(i) AS created_date_time
        FROM range(500000) s(i) ORDER BY id""",
    "role_definitions": """
        SELECT uid(7, i) AS id, 'Role ' || i AS display_name, true AS is_built_in,
               true AS is_enabled, CASE WHEN i < 10 THEN 0 END AS tier
        FROM range(120) s(i) ORDER BY id""",
    "role_assignments": """
        SELECT uid(8, i) AS id, uid(7, i % 120) AS role_definition_id, '/' AS directory_scope_id,
               CASE WHEN i % 4 = 0 THEN uid(2, 1000 + i % 300) ELSE uid(1, i * 37) END
               AS principal_id
        FROM range(2000) s(i) ORDER BY id""",
    "role_eligibility_schedule_instances": """
        SELECT uid(9, i) AS id, uid(7, i % 120) AS role_definition_id, '/' AS directory_scope_id,
               CASE WHEN i % 4 = 0 THEN uid(2, 1000 + i % 300) ELSE uid(1, i * 41) END
               AS principal_id, 'Direct' AS member_type
        FROM range(3000) s(i) ORDER BY id""",
    "group_eligibility_schedule_instances": """
        SELECT uid(10, i) AS id, uid(2, 1000 + i % 300) AS group_id, uid(1, i * 43) AS principal_id,
               'member' AS access_id, 'direct' AS member_type
        FROM range(3000) s(i) ORDER BY id""",
    "subscribed_skus": """
        SELECT uid(11, i) AS sku_id, 'SKU_' || i AS sku_part_number FROM range(20) s(i)
        ORDER BY sku_id""",
    "license_assignments": """
        SELECT uid(1, i) AS user_id, uid(11, i % 3) AS sku_id,
               CASE WHEN i % 2 = 0 THEN uid(2, 0) ELSE '' END AS source_group_id, 'Active' AS state
        FROM range($users) s(i) ORDER BY user_id""",
}


def write(
    target: Path,
    only: Collection[str] = tuple(STATEMENTS),
    *,
    users: int,
    groups: int,
    memberships: int,
) -> dict[str, list[str]]:
    """Write the tables to `target`; the files by table."""
    target.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect(config={"memory_limit": "4GB", "temp_directory": str(target / "t")})
    # Ids look as Graph's do and are not in the order of their numbers.
    connection.execute(
        "CREATE MACRO uid(kind, n) AS md5(kind || '-' || (n)::BIGINT)::UUID::VARCHAR"
    )
    ranks = connection.execute(
        "SELECT sum(pow(g, -$1::DOUBLE)) FROM range(1, $2) s(g)", [EXPONENT, groups]
    ).fetchone()
    values = {
        "users": users,
        "groups": groups,
        "memberships": memberships,
        "exponent": EXPONENT,
        "harmonic": ranks[0] if ranks else 1,
    }
    files = {}
    for table, statement in STATEMENTS.items():
        if table not in only:
            continue
        path = target / f"{table}.parquet"
        for name, value in values.items():
            statement = statement.replace(f"${name}", str(value))
        connection.execute(f"COPY ({statement}) TO '{path}' (COMPRESSION zstd)")
        files[table] = [str(path)]
    return files


def main() -> None:
    """Write one tenant from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--groups", type=int, default=300_000)
    parser.add_argument("--memberships", type=int, default=14_000_000)
    parser.add_argument("--only", nargs="+", choices=STATEMENTS, default=tuple(STATEMENTS))
    given = parser.parse_args()
    write(
        given.target,
        given.only,
        users=given.users,
        groups=given.groups,
        memberships=given.memberships,
    )


if __name__ == "__main__":
    main()
