"""What Exchange Online alone knows of distribution lists and mail-enabled security groups.

Read by each sync that reads groups, where Exchange is configured (ENTRA_EXCHANGE). Elsewhere the
table is empty, and its status says `not_configured`: whether there are lists is then not known.
"""

from entra_pipeline.tables.model import BOOL, TEXT, TEXTS, Reference, Table, computed

EXCHANGE_GROUPS = Table(
    name="exchange_groups",
    doc="Distribution lists and mail-enabled security groups as Exchange has them, with those who "
    "manage them, of whom Graph does not know. Empty unless ENTRA_EXCHANGE is on.",
    group="directory",
    key=("group_id",),
    references=(Reference(("group_id",), "groups"),),
    source_doc="https://learn.microsoft.com/powershell/module/exchange/get-distributiongroup",
    columns=(
        computed("group_id", TEXT, "Object id of the group."),
        computed("recipient_type", TEXT, "Exchange's word for its kind (RecipientTypeDetails)."),
        computed("primary_smtp_address", TEXT, "Its mail address."),
        computed("is_dir_synced", BOOL, "Mastered on premises: nothing is changed here."),
        computed(
            "managed_by", TEXTS, "Who manages it as Exchange names them: object ids, or names."
        ),
        computed("managed_by_ids", TEXTS, "Object ids among those."),
        computed(
            "managed_by_addresses", TEXTS, "Mail addresses of those who manage it, lower case."
        ),
        computed("hidden_from_address_lists", BOOL, "Not shown in address lists."),
        computed("member_join_restriction", TEXT, "Open, Closed or ApprovalRequired."),
        computed("member_depart_restriction", TEXT, "Open or Closed."),
    ),
)

TABLES = (EXCHANGE_GROUPS,)
