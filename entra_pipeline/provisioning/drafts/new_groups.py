"""Drafts of new groups, and of questions after names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from entra_pipeline.provisioning.actions.base import quoted
from entra_pipeline.provisioning.actions.new_groups import (
    like_url,
    names_like,
    numbered,
    suffix_of,
)
from entra_pipeline.provisioning.drafts.base import Draft
from entra_pipeline.provisioning.drafts.groups import MEMBERS, OWNERS
from entra_pipeline.provisioning.ledger import Filed
from entra_pipeline.provisioning.plans import Action, Operation
from entra_pipeline.provisioning.reads import Facts, Read, kind_of_object, principal_url
from entra_pipeline.provisioning.values import CheckUpn, CreateGroup, Tier

_AT_ONCE: Final = 20
"""How many owners and members, together, a group is made with.
Source: https://learn.microsoft.com/graph/api/group-post-groups"""


def _named_url(name: str) -> str:
    return f"/groups?$filter=displayName eq '{quoted(name)}'&$select=id"


def _nickname_url(name: str) -> str:
    return f"/groups?$filter=mailNickname eq '{quoted(name)}'&$select=id,mailEnabled"


class NewGroups:
    """Security and Microsoft 365 groups."""

    def first(self, body: CreateGroup) -> Sequence[Read]:
        """Groups of that name, and what the owners and members are."""
        people = dict.fromkeys((*body.owner_ids, *body.member_ids))
        return [
            Read(_named_url(body.display_name)),
            Read(_nickname_url(body.nickname)),
            *(Read(principal_url(each)) for each in people),
        ]

    def needs(self, body: CreateGroup, facts: Facts) -> Sequence[Read]:
        """Nothing else."""
        return ()

    def draft(
        self, filed: Filed, body: CreateGroup, facts: Facts, recipients: tuple[str, ...]
    ) -> Draft:
        """Refused for who cannot be in such a group, and for addresses that are taken."""
        unified = body.type == "microsoft_365"
        reasons = _unfit(body, facts)
        taken = facts.items(_nickname_url(body.nickname)) or []
        if unified and (mine := [each["id"] for each in taken if each.get("mailEnabled")]):
            reasons.append(
                f"group {mine[0]} has the mail nickname {body.nickname}: ask with another one"
            )
        if reasons:
            return Draft(reasons=tuple(reasons))
        warnings = [
            f"group {each['id']} has the same name"
            for each in (facts.items(_named_url(body.display_name)) or [])[:3]
        ]
        if not body.owner_ids:
            warnings.append(
                "it has no owner: an application that may only make groups cannot change it later"
            )
        properties: dict[str, Any] = {
            "displayName": body.display_name,
            "mailNickname": body.nickname,
            "mailEnabled": unified,
            "securityEnabled": not unified,
            "groupTypes": ["Unified"] if unified else [],
        }
        if body.description is not None:
            properties["description"] = body.description
        if body.is_assignable_to_role:
            properties["isAssignableToRole"] = True
        operation = Operation(
            position=0,
            request_id=filed.id,
            action=Action.CREATE_GROUP,
            identity=body.identity,
            arguments={
                "unique_name": f"entra-pipeline-{filed.id.replace('_', '-')}",
                "properties": properties,
                "owners": list(dict.fromkeys(body.owner_ids)),
                "members": list(dict.fromkeys(body.member_ids)),
            },
            already=False,
            tier=Tier.CONTROL if body.is_assignable_to_role else Tier.ORDINARY,
            irreversible="a group is deleted by a person, who knows what it is used for by then",
        )
        return Draft((operation,), warnings=tuple(warnings))


def _unfit(body: CreateGroup, facts: Facts) -> list[str]:
    reasons = []
    kind = "security" if body.type == "security" else "microsoft_365"
    members = MEMBERS[kind] - ({"group"} if body.is_assignable_to_role else set())
    for relation, ids, fits in (
        ("owner", body.owner_ids, OWNERS),
        ("member", body.member_ids, members),
    ):
        for each in dict.fromkeys(ids):
            document = facts.document(principal_url(each))
            found = kind_of_object(document)
            if document is None:
                reasons.append(f"there is no principal {each}")
            elif found not in fits:
                reasons.append(f"a {found} cannot be {relation} of a {kind} group of this sort")
    if len(set(body.owner_ids)) + len(set(body.member_ids)) > _AT_ONCE:
        reasons.append(
            f"a group is made with {_AT_ONCE} owners and members at most: grant the others"
        )
    return reasons


class Names:
    """Questions after user principal names."""

    def first(self, body: CheckUpn) -> Sequence[Read]:
        """Accounts whose names begin alike."""
        return (Read(like_url(body.user_principal_name)),)

    def needs(self, body: CheckUpn, facts: Facts) -> Sequence[Read]:
        """Nothing else."""
        return ()

    def draft(
        self, filed: Filed, body: CheckUpn, facts: Facts, recipients: tuple[str, ...]
    ) -> Draft:
        """The answer is told as a warning: nothing is written."""
        name = body.user_principal_name
        suffix = suffix_of(name, names_like(name, facts))
        said = f"{name} is free"
        if suffix:
            said = f"{name} is taken: {numbered(name, suffix)} is free"
        operation = Operation(
            position=0,
            request_id=filed.id,
            action=Action.CHECK_UPN,
            identity=body.identity,
            arguments={"user_principal_name": name},
            already=True,
        )
        return Draft((operation,), warnings=(said,))
