"""What became of direct access behind and beside the ledger: changes seen, and what made them.

Rows are added by each sync and stay; only an `unknown` cause is replaced, when the evidence for it
comes in. Ids of people and applications are there, names are not.
"""

from entra_pipeline.tables.model import TEXT, TIME, Table, computed

GRANT_CHANGES = Table(
    name="grant_changes",
    doc="One row for each direct grant that a sync saw appear or go, with its cause.",
    group="provisioning",
    key=("id",),
    columns=(
        computed("id", TEXT, "Id of the change; ids sort by time. `request from-drift` takes it."),
        computed("seen_by", TEXT, "Id of the sync that saw it."),
        computed("seen_after", TIME, "When the table had been read before: the change is later."),
        computed("seen_at", TIME, "When the table was read that showed it."),
        computed("source_table", TEXT, "The table whose row appeared or went."),
        computed("row_key", TEXT, "Key of that row, its parts joined by a slash."),
        computed("change", TEXT, "appeared or gone."),
        computed("principal_id", TEXT, "Whose access."),
        computed("entitlement_id", TEXT, "What access, as `entitlements` has it."),
        computed("state", TEXT, "active or eligible."),
        computed(
            "cause",
            TEXT,
            "ledger, pim, dynamic_rule, directory_sync, automation, out_of_band; unknown where "
            "the audits do not cover the time.",
        ),
        computed(
            "through", TEXT, "principal_deleted or resource_deleted, where it went with that."
        ),
        computed("operation_id", TEXT, "Of the ledger's: the operation that did it."),
        computed("request_id", TEXT, "Of the ledger's: the request that it belongs to."),
        computed("audit_id", TEXT, "The directory audit that tells of it."),
        computed("activity", TEXT, "What that audit calls it."),
        computed("actor_kind", TEXT, "user or application, by that audit."),
        computed("actor_id", TEXT, "Object id of who did it; of applications without one the app."),
        computed("happened_at", TIME, "When it was done, by the ledger or that audit."),
        computed(
            "reverts",
            TEXT,
            "The request whose write it undoes: access that was revoked is there again, or access "
            "that was granted has gone.",
        ),
        computed("classified_at", TIME, "When the cause was worked out."),
    ),
)

TABLES = (GRANT_CHANGES,)
