"""What made each change: rules over the evidence, the surest first.

An operation of the ledger, an activation or an end of PIM, a rule, a directory on premises: these
explain a change by what they are. For the rest the directory's audits say who it was; where they
cover the time and name nobody, it was done all the same, by somebody unknown. Where they do not
cover it, nothing is known.

Here: the rules, as SQL over `changed` and the relations of `evidence`. Nothing is read here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import duckdb

from entra_pipeline.provisioning.drift.evidence import AFTER, BEFORE


class Cause(StrEnum):
    """What made a change."""

    LEDGER = "ledger"
    PIM = "pim"
    DYNAMIC_RULE = "dynamic_rule"
    DIRECTORY_SYNC = "directory_sync"
    AUTOMATION = "automation"
    OUT_OF_BAND = "out_of_band"
    UNKNOWN = "unknown"


_MS_PIM: Final = "01fc33a7-78ba-4d2f-a4b7-768e336e890e"
"""Application id of PIM, which does in the directory what people ask of it.
Source: https://learn.microsoft.com/troubleshoot/entra/entra-id/governance/verify-first-party-apps-sign-in"""
_BASE: Final = "('role_assignments', 'group_members', 'group_owners')"
_NEAR: Final = f"""
    BETWEEN coalesce(c.seen_after, c.seen_at - INTERVAL 1 DAY)
            - INTERVAL {int(BEFORE.total_seconds())} SECOND
        AND c.seen_at + INTERVAL {int(AFTER.total_seconds())} SECOND
"""
_SAME: Final = (
    "u.source_table = c.source_table AND u.principal_id = c.principal_id "
    "AND u.entitlement_id = c.entitlement_id AND u.operation = c.operation AND u.id <> c.id"
)

_OPERATIONS: Final = f"""
CREATE OR REPLACE TEMP TABLE done AS
WITH fitting AS (
    SELECT c.id, o.id AS operation_id, o.request_id, o.written_at,
           c.source_table, c.principal_id, c.entitlement_id, c.row_key, c.seen_at
    FROM changed c JOIN ours o
      ON o.principal_id = lower(c.principal_id)
     AND o.entitlement_id = lower(c.entitlement_id) AND o.operation = c.operation
    WHERE o.written_at {_NEAR}
    UNION ALL
    SELECT c.id, o.id, o.request_id, o.written_at,
           c.source_table, c.principal_id, c.entitlement_id, c.row_key, c.seen_at
    FROM changed c JOIN ours o
      ON o.target_id = lower(c.principal_id) AND o.operation = c.operation
     AND o.action IN ('delete_user', 'restore_user')
    WHERE o.written_at {_NEAR}
), fresh AS (
    SELECT f.* FROM fitting f JOIN changed c USING (id)
    WHERE NOT EXISTS (SELECT 1 FROM used u WHERE u.operation_id = f.operation_id AND {_SAME})
), firsts AS (
    -- What was done once explains one change: the first that could show it.
    SELECT * FROM fresh
    QUALIFY row_number() OVER (
        PARTITION BY operation_id, source_table, principal_id, entitlement_id, row_key
        ORDER BY seen_at < written_at, abs(epoch(seen_at) - epoch(written_at))
    ) = 1
)
SELECT id, arg_max(operation_id, written_at) AS operation_id,
       arg_max(request_id, written_at) AS request_id, max(written_at) AS written_at
FROM firsts GROUP BY id
"""

_PIM: Final = f"""
CREATE OR REPLACE TEMP TABLE by_pim AS
WITH own AS (
    SELECT id, principal_id, entitlement_id, operation FROM changed
    WHERE assigned = 'activated'
       OR (operation = 'gone' AND ends <= seen_at + INTERVAL 5 MINUTE)
)
SELECT id FROM own
UNION
SELECT c.id FROM changed c JOIN own USING (principal_id, entitlement_id, operation)
WHERE c.source_table IN {_BASE}
UNION
SELECT c.id FROM changed c JOIN activated USING (principal_id, entitlement_id)
WHERE c.source_table IN {_BASE} AND c.operation = 'appeared'
"""

_AUDITS: Final = f"""
CREATE OR REPLACE TEMP TABLE blamed AS
WITH naming AS (
    SELECT c.id, p.id AS audit_id, true AS whole FROM changed c
    JOIN about p ON p.name = lower(c.principal_id)
    JOIN about r ON r.name = c.resource_id AND r.id = p.id
    UNION
    SELECT c.id, p.id, false FROM changed c JOIN about p ON p.name = lower(c.principal_id)
    WHERE c.source_table = 'license_assignments' OR c.through = 'principal_deleted'
       OR c.operation = 'appeared'
    UNION
    SELECT c.id, r.id, false FROM changed c JOIN about r ON r.name = c.resource_id
    WHERE c.through = 'resource_deleted'
), fitting AS (
    SELECT c.id, t.id AS audit_id, t.* EXCLUDE (id, operation), lower(t.activity) AS said
    FROM naming n JOIN changed c USING (id) JOIN told t ON t.id = n.audit_id
    WHERE t.happened {_NEAR}
      AND CASE
          WHEN regexp_matches(lower(t.activity),
               '^(hard |soft |permanently )?(delete|remove|restore|recover) '
               || '(user|guest user|group|service principal|application|device|managed identity|'
               || 'administrative unit|contact)[ .]*$')
              THEN t.operation = c.operation
               AND (c.through IS NOT NULL OR c.operation = 'appeared')
          WHEN NOT n.whole AND c.source_table <> 'license_assignments' THEN false
          WHEN c.source_table = 'license_assignments'
              THEN regexp_matches(lower(t.activity), 'licen[cs]e|^update user')
          WHEN c.source_table = 'oauth2_permission_grants'
              THEN coalesce(t.operation = c.operation, true)
          WHEN c.state = 'eligible'
              THEN t.operation = c.operation AND contains(lower(t.activity), 'eligible')
          WHEN contains(lower(t.activity), 'eligible') THEN false
          WHEN c.entitlement_id LIKE '%:member'
              THEN t.operation = c.operation AND NOT contains(lower(t.activity), 'owner')
          WHEN c.entitlement_id LIKE '%:owner'
              THEN t.operation = c.operation AND NOT contains(lower(t.activity), 'member')
          ELSE t.operation = c.operation
          END
      AND NOT EXISTS (SELECT 1 FROM used u WHERE u.audit_id = t.id AND {_SAME})
      -- What the ledger undid afterwards is not what stands now.
      AND NOT EXISTS (
          SELECT 1 FROM ours o
          WHERE o.principal_id = lower(c.principal_id) AND o.operation <> c.operation
            AND o.entitlement_id = lower(c.entitlement_id)
            AND o.written_at > t.happened AND o.written_at <= c.seen_at)
)
SELECT f.id, f.audit_id, f.activity, f.happened,
       CASE WHEN f.user_id IS NOT NULL THEN 'user' WHEN f.app_id IS NOT NULL
                 OR f.service_principal_id IS NOT NULL THEN 'application' END AS actor_kind,
       coalesce(f.user_id, f.service_principal_id, f.app_id) AS actor_id,
       l.id AS operation_id, l.request_id, l.written_at,
       CASE
           WHEN l.id IS NOT NULL THEN 'ledger'
           WHEN (f.service = 'pim' OR contains(f.said, 'pim'))
                AND regexp_matches(f.said, 'activat|expire') THEN 'pim'
           WHEN f.user_id IN (SELECT id FROM automata) OR f.app_id IN (SELECT id FROM automata)
                OR f.service_principal_id IN (SELECT id FROM automata) THEN 'automation'
           -- PIM did it for somebody, whom another audit tells of.
           WHEN f.app_id = '{_MS_PIM}' THEN 'for_somebody'
           ELSE 'out_of_band'
       END AS cause
FROM fitting f
LEFT JOIN (
    SELECT client_request_id, any_value(id) AS id, any_value(request_id) AS request_id,
           any_value(written_at) AS written_at FROM calls GROUP BY client_request_id
) l ON l.client_request_id = f.correlation_id
QUALIFY row_number() OVER (
    PARTITION BY f.id
    ORDER BY l.id IS NULL, coalesce(f.app_id = '{_MS_PIM}', false), f.happened DESC
) = 1
"""

_VERDICT: Final = f"""
CREATE OR REPLACE TEMP TABLE verdict AS
SELECT c.id, c.sync_id AS seen_by, c.seen_after, c.seen_at, c.source_table, c.row_key,
       c.operation AS change, c.principal_id, c.entitlement_id, c.state,
       CASE
           WHEN d.id IS NOT NULL THEN '{Cause.LEDGER}'
           WHEN b.cause = 'ledger' THEN '{Cause.LEDGER}'
           WHEN p.id IS NOT NULL THEN '{Cause.PIM}'
           WHEN c.through IS NOT NULL AND (lp.is_synced OR lr.is_synced)
               THEN '{Cause.DIRECTORY_SYNC}'
           WHEN c.through IS NULL AND h.is_dynamic AND c.entitlement_id LIKE '%:member'
               THEN '{Cause.DYNAMIC_RULE}'
           WHEN c.through IS NULL AND h.is_synced AND c.entitlement_id LIKE '%:member'
               THEN '{Cause.DIRECTORY_SYNC}'
           WHEN b.cause IN ('pim', 'automation') THEN b.cause
           WHEN NOT (SELECT known FROM ledger_known) THEN '{Cause.UNKNOWN}'
           WHEN b.cause = 'out_of_band' THEN b.cause
           WHEN EXISTS (SELECT 1 FROM spans s WHERE s.start <= c.seen_after AND s.stop >= c.seen_at)
               THEN '{Cause.OUT_OF_BAND}'
           ELSE '{Cause.UNKNOWN}'
       END AS cause,
       c.through,
       coalesce(d.operation_id, b.operation_id) AS operation_id,
       coalesce(d.request_id, b.request_id) AS request_id,
       b.audit_id, b.activity, b.actor_kind, b.actor_id,
       coalesce(d.written_at, b.written_at, b.happened) AS happened_at,
       CASE WHEN d.id IS NULL AND b.operation_id IS NULL
                 AND o.operation <> c.operation THEN o.request_id END AS reverts,
       (SELECT moment FROM now_is) AS classified_at
FROM changed c
LEFT JOIN done d USING (id)
LEFT JOIN by_pim p USING (id)
LEFT JOIN blamed b USING (id)
LEFT JOIN lost lp ON lp.id = lower(c.principal_id) AND c.through = 'principal_deleted'
LEFT JOIN lost lr ON lr.id = c.resource_id AND c.through = 'resource_deleted'
LEFT JOIN holders h ON h.id = c.resource_id
LEFT JOIN (
    -- The last that the ledger did about this access, up to the change.
    SELECT c.id, arg_max(o.operation, o.written_at) AS operation,
           arg_max(o.request_id, o.written_at) AS request_id
    FROM changed c JOIN ours o ON o.principal_id = lower(c.principal_id)
     AND o.entitlement_id = lower(c.entitlement_id) AND o.operation IS NOT NULL
     AND o.written_at <= c.seen_at + INTERVAL {int(AFTER.total_seconds())} SECOND
    GROUP BY c.id
) o USING (id)
"""


def settle(connection: duckdb.DuckDBPyConnection) -> None:
    """Make `verdict` of `changed` and the evidence: a row for each change."""
    connection.execute(
        "UPDATE changed SET through = CASE "
        "WHEN lower(principal_id) IN (SELECT id FROM lost) THEN 'principal_deleted' "
        "WHEN resource_id IN (SELECT id FROM lost) THEN 'resource_deleted' END "
        "WHERE operation = 'gone' AND through IS NULL"
    )
    for statement in (_OPERATIONS, _PIM, _AUDITS, _VERDICT):
        connection.execute(statement)
