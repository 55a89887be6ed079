"""What was asked for, planned, approved and done: the ledger as tables, without names or reasons.

The durable record is the ledger of `provisioning`; these are what each sync makes of it. Times are
the ledger's; ids of people are there only where they signed in.
"""

from entra_pipeline.tables.model import BOOL, INT64, TEXT, TIME, Reference, Table, computed

_PRINCIPAL = computed("principal_id", TEXT, "Whose access or account it is about.")
_ENTITLEMENT = computed(
    "entitlement_id", TEXT, "Of grants and revokes: the access, as `entitlements` has it."
)

REQUESTS = Table(
    name="requests",
    doc="One row for each request to change the tenant.",
    group="provisioning",
    key=("id",),
    columns=(
        computed("id", TEXT, "Id of the request; ids sort by time."),
        computed("kind", TEXT, "What is asked for: grant, revoke, create_user and so on."),
        _PRINCIPAL,
        _ENTITLEMENT,
        computed("mode", TEXT, "Of grants and revokes: direct, pim_active or pim_eligible."),
        computed("state", TEXT, "Where it stands, as `entra-pipeline requests` says."),
        computed("source", TEXT, "Where it came from: a person, or an expiry."),
        computed("asked_by_kind", TEXT, "How who asked was known: entra, os_user or system."),
        computed("asked_by", TEXT, "Object id of who asked, if they signed in."),
        computed("batch_id", TEXT, "The requests filed, planned and approved with it."),
        computed("plan_hash", TEXT, "Its latest plan."),
        computed("tier", INT64, "How dangerous its operations are: 0 control, 1, 2 ordinary."),
        computed("filed_at", TIME, "When it was filed."),
        computed("not_before", TIME, "When it may begin."),
        computed("expires_at", TIME, "When what it grants ends."),
        computed("ended_by", TEXT, "The request that takes its grant back."),
        computed("changed_at", TIME, "When its state changed last."),
    ),
)

PLANS = Table(
    name="plans",
    doc="One row for each plan: what was foretold of it.",
    group="provisioning",
    key=("hash",),
    columns=(
        computed("hash", TEXT, "What people approve."),
        computed("batch_id", TEXT, "The requests that it was made of."),
        computed("approvals_needed", INT64, "How many people have to approve it."),
        computed("gained", INT64, "Pieces of effective access that it gives."),
        computed("lost", INT64, "Pieces of effective access that it takes."),
        computed("is_known", BOOL, "Whether nothing about that was unknown."),
        computed("made_at", TIME, "When it was made."),
    ),
)

OPERATIONS = Table(
    name="operations",
    doc="One row for each write of each plan, and what became of it.",
    group="provisioning",
    key=("id",),
    references=(Reference(("request_id",), "requests"), Reference(("plan_hash",), "plans")),
    columns=(
        computed("id", TEXT, "Id of the operation."),
        computed("request_id", TEXT, "The request that it belongs to."),
        computed("plan_hash", TEXT, "The plan that it belongs to."),
        computed("position", INT64, "Its place in the plan, from 0."),
        computed("action", TEXT, "The kind of write."),
        computed("target_id", TEXT, "The object that Graph changes."),
        _PRINCIPAL,
        _ENTITLEMENT,
        computed("state", TEXT, "Where it stands: planned, written, verified and so on."),
        computed("tier", INT64, "How dangerous it is: 0 control, 1, 2 ordinary."),
        computed("added", BOOL, "Whether our write made it so, not somebody else's."),
        computed("written_at", TIME, "When it was written."),
        computed("attempts", INT64, "How often it was tried."),
        computed(
            "client_request_id",
            TEXT,
            "Of the last attempt: `correlation_id` of the directory audits.",
        ),
        computed("changed_at", TIME, "When its state changed last."),
    ),
)

APPROVALS = Table(
    name="approvals",
    doc="One row each time that somebody approved or rejected a plan.",
    group="provisioning",
    key=("id",),
    references=(Reference(("plan_hash",), "plans"),),
    columns=(
        computed("id", TEXT, "Id of the approval."),
        computed("plan_hash", TEXT, "The plan that it is about."),
        computed("verdict", TEXT, "approve or reject."),
        computed("approver_kind", TEXT, "How they were known: entra or os_user."),
        computed("approver", TEXT, "Object id of who said so, if they signed in."),
        computed("said_at", TIME, "When they said so."),
    ),
)

REVIEWS = Table(
    name="reviews",
    doc="One row for each piece of emergency access: given before anybody approved it, and looked "
    "at by somebody since, or not yet (`closed_at` is null).",
    group="provisioning",
    key=("id",),
    references=(Reference(("request_id",), "requests"),),
    columns=(
        computed("id", TEXT, "Id of the review."),
        computed("request_id", TEXT, "The request that was carried out without approval."),
        computed("opened_at", TIME, "When it was let run."),
        computed("closed_at", TIME, "When somebody closed the review; null while it is open."),
        computed("closed_by_kind", TEXT, "How who closed it was known: entra or os_user."),
        computed("closed_by", TEXT, "Object id of who closed it, if they signed in."),
        computed("finding", TEXT, "What they found: justified or not_justified."),
    ),
)

AUDIT = Table(
    name="audit",
    doc="One row for each entry of the ledger's audit, with its hash; not what it says.",
    group="provisioning",
    key=("seq",),
    columns=(
        computed("seq", INT64, "Its number, from 1."),
        computed("written_at", TIME, "When it was written."),
        computed("kind", TEXT, "What happened: filed, planned, approve and so on."),
        computed("row", TEXT, "Table and key of the row that it is about."),
        computed("previous", TEXT, "The hash of the entry before."),
        computed("hash", TEXT, "Its hash, as `verify-audit` works it out."),
    ),
)

TABLES = (REQUESTS, PLANS, OPERATIONS, APPROVALS, REVIEWS, AUDIT)
