"""Provisioning in Dagster: the job whose form is a request, and runs that carry out what is due.

Here: two jobs and a sensor around `entra_pipeline.provisioning.service`. Not here: the form
(`launchpad`), and anything that decides whether or how something is written.

Run configuration, events and tick messages hold ids of objects, requests and plans, kinds and
counts; reasons and names stay in the ledger (`entra-pipeline show`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import dagster as dg

from entra_pipeline.msgraph import GraphError
from entra_pipeline.orchestration.launchpad import FiledBefore, Form, Mode, request_of
from entra_pipeline.provisioning.errors import ProvisioningError
from entra_pipeline.provisioning.ledger import jobs as scim_jobs
from entra_pipeline.provisioning.ledger import looking
from entra_pipeline.provisioning.planning import Refusal
from entra_pipeline.provisioning.plans import Plan
from entra_pipeline.provisioning.service import Carried, Provisioning
from entra_pipeline.provisioning.states import RequestState
from entra_pipeline.settings import Settings, SettingsError

JOB: Final = "provision"
DUE_JOB: Final = "provision_due"
SENSOR: Final = "provision_watch"
STEP: Final = "carry_out_request"
INTERVAL_S: Final = 30
LEAVERS_SENSOR: Final = "leavers_watch"
LEAVERS_INTERVAL_S: Final = 900
RUN_S: Final = 240.0
"""For so long a run carries out what is due and confirms it; then the next one goes on."""
MOST_RUNS: Final = 2
LONGEST_WAIT_S: Final = 900.0
_FAILURES_SEEN: Final = 8
REFUSED_AGAIN: Final = timedelta(minutes=15)
"""An ending that was refused (the last owner, say) is tried again after that."""

_UNFINISHED: Final = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]
_WELL: Final = frozenset({RequestState.WRITTEN, RequestState.DONE})
Load = Callable[[], Settings]


def build_jobs(load: Load) -> list[dg.JobDefinition]:
    """The jobs; `load` gives the settings when a run begins."""
    return [_launched(load), _due(load)]


def _launched(load: Load) -> dg.JobDefinition:
    @dg.op(
        name=STEP,
        out=dg.Out(dg.Nothing),
        description="Plan the request; carry it out if told to and if it is approved.",
    )
    def carry_out_request(context: dg.OpExecutionContext, config: Form) -> None:
        with _told(), Provisioning(load()) as opened:
            work = _dry if config.mode is Mode.dry_run else _apply
            context.add_output_metadata(work(opened, config))

    @dg.config_mapping
    def form(given: Form) -> dict[str, Any]:
        mapped: dict[str, Any] = dg.RunConfig(ops={STEP: given}).to_config_dict()  # type: ignore[no-untyped-call]
        return mapped

    @dg.job(
        name=JOB,
        config=form,
        executor_def=dg.in_process_executor,
        description=(
            "One change of the tenant, as the Launchpad's form says it; a dry run unless told "
            "otherwise. It is applied only if its plan is approved, or needs no approval by the "
            "policy: launch it once, approve the plan on the command line, launch it again."
        ),
    )
    def provision() -> None:
        carry_out_request()

    return provision


def _dry(opened: Provisioning, form: Form) -> dict[str, Any]:
    asked = form.request
    if isinstance(asked, FiledBefore):
        plan = opened.preview_filed(asked.request_id)
        if isinstance(plan, Refusal):
            raise _refused(plan, asked.request_id)
    else:
        plan = opened.preview([request_of(form, opened.ledger.clock())[0]])
        if isinstance(plan, Refusal):
            # No kind of the form has names in it, so there are none in the reasons.
            raise _failure("\n".join(reason for each in plan.reasons.values() for reason in each))
    return _shown(plan)


def _apply(opened: Provisioning, form: Form) -> dict[str, Any]:
    if not opened.enabled:
        raise _failure("nothing is written to the tenant: provisioning is off (ENTRA_PROVISIONING)")
    asked = form.request
    if isinstance(asked, FiledBefore):
        key = asked.request_id
    else:
        key = opened.file_once(*request_of(form, opened.ledger.clock())).id
    found = looking.one(opened.ledger, key)
    if found.state in (RequestState.FILED, RequestState.REFUSED, RequestState.STALE):
        _, plan = opened.plan(key)
        if isinstance(plan, Refusal):
            raise _refused(plan, key)
        found = looking.one(opened.ledger, key)
    if found.state is RequestState.PLANNED and found.plan_hash is not None:
        raise _failure(
            f"{key} is not approved: entra-pipeline approve {key} --plan {found.plan_hash[:16]}; "
            "then launch this again",
            {"request": key, "plan": found.plan_hash},
        )
    carried = opened.carry_out(wait=True, most_seconds=RUN_S)
    found = looking.one(opened.ledger, key)
    metadata = {"request": key, "plan": found.plan_hash or "", "state": found.state.value}
    if found.state is RequestState.APPROVED and found.due_at > opened.ledger.clock():
        if key not in carried.requests:  # its time has not come
            return {**metadata, "due": found.due_at.isoformat()}
        raise _failure(
            f"{key} was put off until {found.due_at:%H:%M:%S} UTC: "
            f"`entra-pipeline show {key}` says why",
            metadata,
        )
    if found.state not in _WELL:
        raise _failure(f"{key} is {found.state}: `entra-pipeline show {key}` says why", metadata)
    return metadata


def _due(load: Load) -> dg.JobDefinition:
    @dg.op(
        out=dg.Out(dg.Nothing),
        description=(
            "Take back what has expired, write what is approved and due, read what was written."
        ),
    )
    def carry_out_due(context: dg.OpExecutionContext) -> None:
        with _told(), Provisioning(load()) as opened:
            carried = opened.carry_out(wait=True, most_seconds=RUN_S)
        context.add_output_metadata(_counts(carried))

    @dg.job(
        name=DUE_JOB,
        executor_def=dg.in_process_executor,
        description=(
            "Carries out approved requests whose time has come, each apart from the others' "
            f"failures. The sensor {SENSOR} asks for it."
        ),
    )
    def provision_due() -> None:
        carry_out_due()

    return provision_due


def build_sensor(load: Load) -> dg.SensorDefinition:
    """The sensor that has due requests carried out; `load` gives the settings for each tick."""

    @dg.sensor(
        name=SENSOR,
        job_name=DUE_JOB,
        minimum_interval_seconds=INTERVAL_S,
        # As everything here: nothing is changed unasked.
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=(
            "Has approved requests carried out when their time has come, and grants taken back "
            "when theirs is over. Does nothing while ENTRA_PROVISIONING is off."
        ),
    )
    def provision_watch(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        settings = load()
        if not settings.provisioning:
            return dg.SkipReason("provisioning is off (ENTRA_PROVISIONING)")
        with Provisioning(settings) as opened:
            opened.tell()
            if opened.stop_file.exists() or opened.ledger.stopped() is not None:
                return dg.SkipReason("writing was stopped: `entra-pipeline resume` lets it go on")
            waiting = looking.waiting(opened.ledger)
            jobs = settings.schedule_scim_provisioning and scim_jobs.pending(opened.ledger)
        now = datetime.now(UTC)
        again = bool(waiting.refused) and _long_ago(context.cursor, now)
        if not waiting.anything and not again and not jobs:
            return dg.SkipReason("nothing is due")
        # A run that goes on takes up what comes; another one only for what waits to be written.
        most = MOST_RUNS if waiting.due or waiting.expiring else 1
        if (running := _unfinished(context.instance, now)) >= most:
            return dg.SkipReason(f"{running} runs under way take it up")
        if (wait := _wait(context.instance, now)) > 0:
            return dg.SkipReason(f"after runs that failed, the next in {wait:.0f} s")
        return dg.SensorResult(
            run_requests=[dg.RunRequest()],
            cursor=now.isoformat() if again else context.cursor,
        )

    return provision_watch


def build_leavers_sensor(load: Load) -> dg.SensorDefinition:
    """The sensor that files offboardings from the date of leaving."""

    @dg.sensor(
        name=LEAVERS_SENSOR,
        minimum_interval_seconds=LEAVERS_INTERVAL_S,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=(
            "Files an offboarding for everybody whose date of leaving is near, where the policy "
            "says `offboard: {file_from_leave_date: true}`. It approves and carries out nothing."
        ),
    )
    def leavers_watch(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        with Provisioning(load()) as opened:
            found = opened.file_leavers()
        said = f"{len(found.filed)} requests filed, {len(found.cancelled)} cancelled"
        return dg.SkipReason(f"{said}: `entra-pipeline requests --kind offboard` lists them")

    return leavers_watch


def _unfinished(instance: dg.DagsterInstance, now: datetime) -> int:
    """Runs under way; what is older than a run can be has died and says so only later."""
    since = now - timedelta(seconds=2 * RUN_S)
    wanted = dg.RunsFilter(job_name=DUE_JOB, statuses=_UNFINISHED, created_after=since)
    return int(instance.get_runs_count(wanted))


def _wait(instance: dg.DagsterInstance, now: datetime) -> float:
    """Seconds to wait after runs that failed: longer with each, so that they do not pile up."""
    records = instance.get_run_records(dg.RunsFilter(job_name=DUE_JOB), limit=_FAILURES_SEEN)
    failures, ended = 0, 0.0
    for record in records:  # the latest first
        if record.dagster_run.status is not dg.DagsterRunStatus.FAILURE:
            break
        failures += 1
        ended = max(ended, record.end_time or 0.0)
    if not failures:
        return 0.0
    pause: float = min(INTERVAL_S * 2 ** (failures - 1), LONGEST_WAIT_S)
    return max(0.0, ended + pause - now.timestamp())


def _long_ago(cursor: str | None, now: datetime) -> bool:
    try:
        return cursor is None or now - datetime.fromisoformat(cursor) > REFUSED_AGAIN
    except ValueError:
        return True


def _counts(carried: Carried) -> dict[str, Any]:
    return {
        **{f"requests_{state}": number for state, number in carried.counts().items()},
        "endings": len(carried.ended),
        "endings_refused": len(carried.ends_refused),
        "set_aside": len(carried.diverted),
        "operations_confirmed": sum(s.value == "verified" for s in carried.operations.values()),
        "rounds": carried.rounds,
    }


def _shown(plan: Plan) -> dict[str, Any]:
    """A plan in ids alone: arguments and identities may have names in them."""
    rows = [
        f"| {each.position + 1} | {each.action} | {each.target_id or ''} | "
        f"{each.principal_id or ''} | {int(each.tier)} | {'yes' if each.already else ''} |"
        for each in plan.operations
    ]
    head = "| | Operation | Target | Principal | Tier | So already |\n|---|---|---|---|---|---|\n"
    return {
        "plan": dg.MetadataValue.md(head + "\n".join(rows)),
        "changes": sum(not each.already for each in plan.operations),
        "warnings": len(plan.warnings),
        "approvals_needed": plan.approvals_needed,
    }


@contextmanager
def _told() -> Iterator[None]:
    """Have what provisioning refuses fail the run with its one sentence, and no trace."""
    try:
        yield
    except (ProvisioningError, SettingsError, GraphError) as error:
        raise _failure(str(error)) from None


def _refused(refusal: Refusal, key: str) -> dg.Failure:
    count = sum(map(len, refusal.reasons.values()))
    return _failure(f"refused: `entra-pipeline plan {key}` says why", {"reasons": count})


def _failure(text: str, metadata: dict[str, Any] | None = None) -> dg.Failure:
    return dg.Failure(text, metadata=metadata or {}, allow_retries=False)
