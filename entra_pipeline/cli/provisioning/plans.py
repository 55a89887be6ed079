"""How a plan is shown: what will be written, what it means, and what it is known by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from entra_pipeline.cli import output
from entra_pipeline.cli.output import count

if TYPE_CHECKING:
    from entra_pipeline.provisioning.ledger import Filed
    from entra_pipeline.provisioning.planning import Refusal
    from entra_pipeline.provisioning.plans import Change, Operation, Plan

LISTED = 40
"""Changes of each sort that are shown to people."""
_TAKING = ("remove_", "delete_", "revoke_", "pim_remove_")
_CHANGING = ("update_", "set_", "check_")


def document(plan: Plan) -> dict[str, Any]:
    """A plan as JSON, with its hash."""
    return {"hash": plan.hash, "tier": int(plan.tier), **plan.document()}


def refusal(refused: Refusal) -> list[dict[str, Any]]:
    """Every reason, as JSON."""
    return [{"request": key, "reasons": list(said)} for key, said in refused.reasons.items()]


def show(plan: Plan, filed: Sequence[Filed]) -> None:
    """Print a plan for people."""
    already = sum(each.already for each in plan.operations)
    names = _names(plan)
    output.show(f"Plan for {count(len(plan.requests), 'request')}", style="bold")
    output.show("")
    for operation in plan.operations:
        output.show(_line(operation), style=_style(operation), breaks=False)
        about = [names.get(each or "") for each in (operation.target_id, operation.principal_id)]
        if any(about):
            known = "  ".join(each or "?" for each in about)
            output.show(f"        {known}", style="dim", breaks=False)
        for name, value in _details(operation):
            output.show(f"        {name} = {output.cell(value)}", style="dim", breaks=False)
        if operation.irreversible:
            output.show(f"        cannot be taken back: {operation.irreversible}", style="yellow")
    output.show("")
    delta = plan.delta
    _changes("Gained", delta.gained, "+", delta.gained_count)
    _changes("Lost", delta.lost, "-", delta.lost_count)
    _changes("Remains all the same", delta.remains, "=", len(delta.remains))
    if not (delta.gained_count or delta.lost_count or delta.unknown):
        output.show("Effective access stays as it is.", style="dim")
    if plan.facts_as_of:
        output.show(f"As the sync {plan.facts_as_of} saw it.", style="dim")
    if plan.delta.unknown:
        output.show(f"Not known: {'; '.join(plan.delta.unknown)}", style="dim")
    for what, most in plan.limits.items():
        output.show(
            f"Asks leave for up to {most} pieces of effective access {what}, whatever the policy's "
            "limits are.",
            style="yellow",
        )
    for warning in plan.warnings:
        output.show(f"Warning: {warning}", style="yellow")
    output.show(
        f"{count(len(plan.operations) - already, 'change')} to make, {already} so already. "
        f"Tier {int(plan.tier)}; needs {count(plan.approvals_needed, 'approval')}."
    )
    output.show(f"Hash: {plan.hash}", breaks=False)
    waiting = [each for each in filed if each.state == "planned"]
    if waiting:
        output.say(f"Next: entra-pipeline approve {waiting[0].id} --plan {plan.hash[:16]}")
    else:
        output.say("No approval is needed. Next: entra-pipeline apply --wait")


def show_refusal(refused: Refusal) -> None:
    """Print every reason why there is no plan."""
    output.show("Refused: nothing of this will be written.", style="bold red")
    for key, reasons in refused.reasons.items():
        for reason in reasons:
            output.show(f"  {key}: {reason}", breaks=False)


def _names(plan: Plan) -> dict[str, str]:
    """Names of what a plan is about, as far as the published warehouse has them."""
    from entra_pipeline.access.questions import QueryError, Warehouse, WarehouseError
    from entra_pipeline.cli.warehouse import data_dir

    link = data_dir(None) / "warehouse.duckdb"
    ids = {each for o in plan.operations for each in (o.target_id, o.principal_id) if each}
    if not ids or not link.exists():
        return {}
    # Ids of a plan are checked to be hexadecimal digits and hyphens.
    listed = ", ".join(f"'{each}'" for each in sorted(ids))
    try:
        with Warehouse.open(link) as warehouse:
            rows = warehouse.query(
                f"SELECT id, name FROM principals WHERE id IN ({listed}) UNION ALL "
                f"SELECT id, display_name FROM role_definitions WHERE id IN ({listed})"
            )
    except (WarehouseError, QueryError):
        return {}
    return {str(key): output.cell(name) for key, name in rows.rows if name}


def _line(operation: Operation) -> str:
    sign = _sign(operation)
    about = "  ".join(each for each in (operation.target_id, operation.principal_id) if each)
    so = "  (so already)" if operation.already else ""
    return f"  {sign} {operation.action:<22} {about}  tier {int(operation.tier)}{so}"


def _details(operation: Operation) -> list[tuple[str, Any]]:
    shown = {operation.target_id, operation.principal_id}
    return [
        (name, value)
        for name, value in operation.arguments.items()
        if name != "segment" and (not isinstance(value, str) or value not in shown)
    ]


def _sign(operation: Operation) -> str:
    if operation.already:
        return "="
    if operation.action.startswith(_TAKING):
        return "-"
    return "~" if operation.action.startswith(_CHANGING) else "+"


def _style(operation: Operation) -> str:
    return {"=": "dim", "-": "red", "~": "yellow", "+": "green"}[_sign(operation)]


def _changes(title: str, changes: Sequence[Change], sign: str, number: int) -> None:
    if not changes:
        return
    output.show(f"{title}:")
    for change in changes[:LISTED]:
        state = "" if change.state == "active" else f"  ({change.state})"
        through = f"  through {' > '.join(change.through)}" if change.through else ""
        output.show(
            f"  {sign} {change.principal_id}  {change.entitlement_id}{state}{through}",
            breaks=False,
        )
        if change.why:
            output.show(f"        {change.why}", style="dim", breaks=False)
    if number > LISTED:
        output.show(f"    and {number - LISTED} more: --json has the first {len(changes)}")
