"""Groups and their members, in as few round trips as Graph allows.

Here: the listing that settles small groups, the batches for the others, the service principals
that Graph's member lists leave out, and the comparison with Graph's counts. Not here: owners
(`owners`), PIM (`pim`), the order in which batches are sent (`plan`).
"""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from entra_pipeline.extract import increments, mapping
from entra_pipeline.extract.arrow import Array, Structs
from entra_pipeline.extract.arrow import compute as pc
from entra_pipeline.extract.delta import DoubtError
from entra_pipeline.extract.fanout import Answered, FanOut, copied, joined
from entra_pipeline.extract.followed import PRINCIPALS
from entra_pipeline.extract.job import Amendment, Job, Partial, Reader
from entra_pipeline.extract.memberships import Memberships
from entra_pipeline.extract.nested import Refusals, Split, both, split
from entra_pipeline.extract.notes import DROPPED_BY_SETTING, DUPLICATES, REREAD
from entra_pipeline.extract.outcome import DependencyError
from entra_pipeline.extract.parse import ODATA_TYPE, PageParser
from entra_pipeline.extract.plan import Read
from entra_pipeline.extract.readers.lists import distinct
from entra_pipeline.extract.readers.owners import hidden_members, without_synced
from entra_pipeline.extract.source import PAGE, IncompleteError, Listing
from entra_pipeline.extract.values import kind_of, kinds
from entra_pipeline.msgraph.errors import ForbiddenError

_LISTED = "service_principals.listed"
_SERVICE_PRINCIPAL = "sp:"
"""Marks the keys of reads that ask a service principal for its groups."""

_TOGETHER = 1 << 15
"""Members of several groups that are worked on at once: each step costs something for every call,
and most groups are small."""


def _changed(job: Job) -> list[Amendment]:
    """The changed groups, those that are gone, and the members that came and went."""
    table = job.table("groups")
    name = "group_members"
    members: list[Amendment] = []
    if job.wants(name):
        members.append(increments.relation(job, name, "groups", "members", "memberOf", PRINCIPALS))
    found = job.round("groups")
    rows = mapping.rows(table, found.items, job.notes("groups"), _computed(found.items))
    if (hidden := hidden_members(job, rows.column("visibility"))) is not None:
        raise DoubtError(hidden.reason)
    _give_role_assignable(job, rows, found.removed)
    return [*members, increments.objects(job, "groups", found, rows)]


def _give_role_assignable(job: Job, changed: pa.RecordBatch, removed: Array) -> None:
    """The fact as the table will have it."""
    stored = job.lake.read("groups", ("id", "is_assignable_to_role"))
    touched = pa.concat_arrays([changed.column("id"), removed])
    stored = stored.filter(pc.invert(pc.is_in(stored.column("id"), value_set=touched)))
    special: list[Any] = []
    for rows in (stored, changed):
        is_special = pc.equal(rows.column("is_assignable_to_role"), True)
        special += rows.column("id").filter(is_special).to_pylist()
    job.facts.give("groups.role_assignable", special)


def _computed(items: Structs) -> dict[str, Array]:
    return {"kind": _kind(items), "is_dynamic": _is_dynamic(items)}


def _groups(job: Job) -> None:
    if job.by_changes(_changed):
        return
    table, notes = job.table("groups"), job.notes("groups")
    members = _Members(job) if job.wants("group_members") else None
    params = {"$select": mapping.select(table), "$top": PAGE}
    if members is not None:
        params["$expand"] = "members($select=id)"
    listing = Listing(
        table.path,
        params,
        PageParser(mapping.shape(table, {"members": mapping.LINKS} if members else None)),
        job.label("groups", "group_members"),
        priority=job.priority,
    )

    def convert(items: Structs) -> tuple[pa.RecordBatch, Array, Split | None]:
        ids = pc.struct_field(items, "id")
        if job.settings.skip_ad_groups:
            kept = without_synced(items)
            notes.add(DROPPED_BY_SETTING, len(items) - len(kept))
            items = kept
        rows = mapping.rows(table, items, notes, _computed(items))
        return rows, ids, split(items, "members") if members is not None else None

    count: int | None = None

    def expected(number: int) -> None:
        nonlocal count
        count = number

    def arrived(page: tuple[pa.RecordBatch, Array, Split | None]) -> None:
        job.counted("groups", page[0].num_rows, count)
        if members is not None and page[2] is not None:
            members.ask(page[0], page[2])

    def size(pages: list[tuple[pa.RecordBatch, Array, Split | None]]) -> int:
        # Of all that were listed, those left out by the settings too.
        return distinct("id")([pa.record_batch({"id": page[1]}) for page in pages])

    try:
        pages = job.source.read_counted(
            listing, notes, convert, size, expected=expected, arrived=arrived
        )
        groups = pa.Table.from_batches([page[0] for page in pages], schema=table.schema())
        job.believe("groups", groups.num_rows)
        is_special = pc.equal(groups.column("is_assignable_to_role"), True)
        special = groups.column("id").filter(is_special)
        job.facts.give("groups.role_assignable", special.to_pylist())
        if members is not None:
            for page in pages:
                if page[2] is not None:
                    members.shown(page[2])
            members.listed(groups)
        del pages
        job.publish("groups", groups)
        del groups
        if members is not None:
            members.publish()
    finally:
        if members is not None:
            members.close()


def _kind(items: Structs) -> Array:
    """The kind of group from its flags.

    Source: https://learn.microsoft.com/graph/api/resources/groups-overview#group-types-in-microsoft-entra-id-and-microsoft-graph
    """
    unified = _contains(items.field("groupTypes"), "Unified")
    mail = items.field("mailEnabled").fill_null(False)
    security = items.field("securityEnabled").fill_null(False)
    return pc.case_when(
        pc.make_struct(unified, pc.and_not(security, mail), pc.and_(mail, security), mail),
        "microsoft_365",
        "security",
        "mail_enabled_security",
        "distribution",
        "security",
    )


def _is_dynamic(items: Structs) -> Array:
    return _contains(items.field("groupTypes"), "DynamicMembership")


def _contains(lists: Array, word: str) -> Array:
    """Whether each list has the word; False for null lists."""
    hits = pc.equal(lists.flatten(), word).fill_null(False)
    places = pc.list_parent_indices(lists).filter(hits)
    return pc.is_in(pa.array(np.arange(len(lists)), places.type), value_set=places)


class _Members:
    """The members of all groups: what the listing shows, and the reads that complete it.

    Three things go on at once: the listing (in the reader's thread), the list of service
    principals with their groups, and the batches that both of them feed.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._notes = job.notes("group_members")
        self._label = job.label("group_members", "groups")
        self._store = Memberships()
        self._asked: set[str] = set()
        self._rule_of: dict[str, int] = {}
        self._sizes = _former_sizes(job)
        self._refusals = Refusals()
        self._good = 0
        self._suspects: list[Answered[str]] = []
        self._sp_pairs: list[tuple[Array, Array]] = []
        self._sp_read: list[Answered[str]] = []
        self._group_ids: Array = pa.array([], pa.string())
        self._partial: Partial | None = None
        self._fan = self._new_fan()
        self._feeding = threading.Semaphore(0)
        self._pool = ThreadPoolExecutor(3, "extract-members")
        self._reading: Future[None] = self._pool.submit(self._take)
        self._beside: Future[Partial | None] = self._pool.submit(self._service_principals)
        self._closed = False

    def _new_fan(self) -> FanOut[str]:
        return FanOut(
            self._job.source,
            PageParser(mapping.LINK),
            self._notes,
            table=self._label,
            eventual=True,
            priority=self._job.priority,
        )

    # ---- the listing feeds -------------------------------------------------------------------

    def ask(self, groups: pa.RecordBatch, found: Split) -> None:
        """Read the groups that show as many members as Graph ever shows."""
        rules = dict(
            zip(
                groups.column("id").to_pylist(),
                groups.column("membership_rule").to_pylist(),
                strict=True,
            )
        )
        fresh = [key for key in found.cut.to_pylist() if key not in self._asked]
        self._asked.update(fresh)
        self._job.counted("group_members", len(found.items))
        self._fan.add(
            Read(
                key,
                _members_url(key),
                pages_left=-(-self._sizes.get(key, 1) // int(PAGE)),
                urgency=_urgency(rules.get(key)),
            )
            for key in fresh
        )

    def shown(self, found: Split) -> None:
        """Take the members that the listing shows in full."""
        links = found.items
        self._store.add(
            found.owners,
            pc.struct_field(links, "id"),
            kinds(pc.struct_field(links, ODATA_TYPE), self._notes),
        )

    def listed(self, groups: pa.Table) -> None:
        """The listing is whole: `groups` are all there are."""
        self._group_ids = groups.column("id").combine_chunks()
        self._partial = hidden_members(self._job, groups.column("visibility"))
        self._finish_feeding()

    # ---- service principals, whom Graph's member lists leave out --------------------------------

    def _service_principals(self) -> Partial | None:
        """Their groups from their own side; why they are unknown if Graph refuses.

        Source: https://learn.microsoft.com/graph/api/group-list-members (known issue: service
        principals are not listed; `$expand` shows them, up to its limit).
        """
        try:
            listing = Listing(
                "/servicePrincipals",
                {"$select": "id", "$top": PAGE, "$expand": "memberOf($select=id)"},
                PageParser(pa.struct([("id", pa.string()), ("memberOf", mapping.LINKS)])),
                self._label,
                priority=self._job.priority,
            )

            def arrived(found: Split) -> None:
                fresh = [k for k in found.cut.to_pylist() if k not in self._asked]
                self._asked.update(fresh)
                self._fan.add(Read(f"{_SERVICE_PRINCIPAL}{k}", _groups_url(k)) for k in fresh)

            pages = self._job.source.read_listed(
                listing,
                self._notes,
                lambda items: split(items, "memberOf"),
                arrived,
                self._listed if self._job.facts.promised(_LISTED) else None,
            )
            for found in pages:
                self._sp_pairs.append(_groups_of(found.owners, found.items))
        except ForbiddenError as error:
            return Partial(
                f"service principals among members of large groups are unknown ({error})",
                "Application.Read.All",
            )
        finally:
            self._feeding.release()
        return None

    def _listed(self) -> int | None:
        try:
            return int(self._job.fact(_LISTED))
        except DependencyError:
            return None

    # ---- the batches -------------------------------------------------------------------------

    def _take(self) -> None:
        together: list[Answered[str]] = []
        rows = 0
        judged: Future[None] | None = None
        for answer in self._fan.results():
            if not self._refusals.is_good(answer, self._notes):
                continue
            self._good += 1
            if answer.key.startswith(_SERVICE_PRINCIPAL):
                self._sp_read.append(answer)
                continue
            self._job.counted("group_members", answer.size)
            together.append(answer)
            rows += answer.size
            if rows >= _TOGETHER:
                # Elsewhere: the next pages are asked for from this thread.
                if judged is not None:
                    judged.result()
                judged = self._pool.submit(self._judge, together)
                together, rows = [], 0
        if judged is not None:
            judged.result()
        self._judge(together)

    def _judge(self, answers: list[Answered[str]]) -> None:
        """Keep the members of groups that are whole; set those aside that came short."""
        links, owners = joined(answers, mapping.LINK)
        if not answers:
            return
        members = self._store.member_numbers(pc.struct_field(links, "id"))
        sizes = _different(owners, members, len(answers))
        is_whole = np.ones(len(answers), bool)
        for place, (answer, different) in enumerate(zip(answers, sizes, strict=True)):
            self._notes.add(DUPLICATES, answer.size - different)
            if answer.expected is not None and different < answer.expected:
                is_whole[place] = False
                answer.items = [copied(items) for items in answer.items]
                self._suspects.append(answer)
        types = kinds(pc.struct_field(links, ODATA_TYPE), self._notes)
        if not is_whole.all():
            kept = is_whole[owners]
            owners, members, types = owners[kept], members[kept], types.filter(pa.array(kept))
        groups = pa.array([answer.key for answer in answers], pa.string())
        self._store.add_numbered(groups, owners, members, types)

    def _keep(self, answer: Answered[str]) -> None:
        for links in answer.items:
            self._store.add(
                pa.array([answer.key] * len(links), pa.string()),
                pc.struct_field(links, "id"),
                kinds(pc.struct_field(links, ODATA_TYPE), self._notes),
            )

    def _finish_feeding(self) -> None:
        """No more groups; and once the service principals are through too, no more reads."""
        # The whole directory may be in one group; half of it is the guess that costs least.
        people = self._job.facts.peek("users.count") or _former_rows(self._job, "users")
        self._fan.expect(max(1, people // (2 * int(PAGE))))
        self._feeding.acquire()
        self._fan.close()
        self._closed = True

    def close(self) -> None:
        """Stop and wait, whatever happened."""
        if not self._closed:
            self._finish_feeding()
        self._pool.shutdown(wait=True)

    # ---- the end -----------------------------------------------------------------------------

    def publish(self) -> None:
        """Wait for the batches, check the counts, commit."""
        job = self._job
        self._reading.result()
        partial = both(self._partial, self._beside.result())
        partial = both(partial, self._refusals.partial(self._good))
        for answer in self._sp_read:
            key = answer.key.removeprefix(_SERVICE_PRINCIPAL)
            for links in answer.items:
                owners = pa.array([key] * len(links), pa.string())
                self._sp_pairs.append(_groups_of(owners, links))
        principals = _pairs(self._sp_pairs)
        self._check(principals)
        self._store.add(
            principals.field("group"),
            principals.field("member"),
            pa.array(["service_principal"] * len(principals), pa.string()),
        )
        synced, stale = self._synced_users()
        rows, strangers, dropped = self._store.table(
            job.table("group_members").schema(),
            only_holders=self._group_ids,
            without_members=synced,
        )
        self._notes.add(DROPPED_BY_SETTING, dropped)
        del strangers  # groups that the settings leave out, or newer than the listing
        job.publish("group_members", rows, partial=both(stale, partial))

    def _check(self, principals: Structs) -> None:
        """Compare groups that came short with Graph's counts, and read them once more.

        Graph's count includes the service principals that its list leaves out.
        """
        suspects = self._suspects
        known: dict[str, set[str]] = {}
        if suspects:
            for pair in principals.to_pylist():
                known.setdefault(pair["group"], set()).add(pair["member"])
        for last in (False, True):
            short = [answer for answer in suspects if not _explained(answer, known)]
            for answer in suspects:
                if answer not in short:
                    self._keep(answer)
            if not short:
                return
            if last:
                break
            self._notes.add(REREAD, len(short))
            suspects = self._read_again(short)
        first = short[0]
        raise IncompleteError(
            f"{len(short)} groups listed fewer members than Graph counts, read twice; one of them "
            f"{_size(first)} of {first.expected}"
        )

    def _read_again(self, short: list[Answered[str]]) -> list[Answered[str]]:
        fan = self._new_fan()
        fan.add(Read(answer.key, _members_url(answer.key)) for answer in short)
        fan.close()
        return [a for a in fan.results() if self._refusals.is_good(a, self._notes)]

    def _synced_users(self) -> tuple[Array | None, Partial | None]:
        """Whom the settings leave out of the members; None when nobody."""
        job = self._job
        if not job.settings.skip_ad_groups or job.settings.include_on_prem_group_members:
            return None, None
        columns = ("id", "on_premises_sync_enabled")
        if job.facts.promised("users.synced"):
            return job.fact_or_former("users.synced", columns, _synced)
        if job.lake.info("users") is None:
            raise DependencyError(
                "ENTRA_SKIP_AD_GROUPS needs to know which users are synced: read users too"
            )
        return _synced(job.lake.read("users", columns)), None


def _synced(users: pa.Table) -> Array:
    is_synced = pc.equal(users.column("on_premises_sync_enabled"), True)
    return users.column("id").filter(is_synced).combine_chunks()


def _members_url(group_id: str) -> str:
    return f"/groups/{group_id}/members?$select=id&$top={PAGE}&$count=true"


def _groups_url(service_principal_id: str) -> str:
    return f"/servicePrincipals/{service_principal_id}/memberOf?$select=id&$top={PAGE}"


def _urgency(rule: str | None) -> int:
    """How likely a group is huge before anything is known: rules with few clauses match many."""
    return 0 if rule is None else max(1, 6 - rule.lower().count(" and ") - rule.count("-and"))


def _groups_of(owners: Array, links: Structs) -> tuple[Array, Array]:
    """(group ids, member ids) of memberOf answers, which hold roles and units as well."""
    types = pc.struct_field(links, ODATA_TYPE).dictionary_encode()
    named = [kind_of(name) == "group" for name in types.dictionary.to_pylist()]
    is_group = pa.array(named, pa.bool_()).take(types.indices).fill_null(False)
    return pc.struct_field(links, "id").filter(is_group), owners.filter(is_group)


def _pairs(parts: list[tuple[Array, Array]]) -> Structs:
    empty = pa.array([], pa.string())
    return pa.StructArray.from_arrays(
        [
            pa.concat_arrays([empty, *(part[0] for part in parts)]),
            pa.concat_arrays([empty, *(part[1] for part in parts)]),
        ],
        ["group", "member"],
    )


def _explained(answer: Answered[str], known: dict[str, set[str]]) -> bool:
    """Whether the service principals that a list leaves out make up for what is missing."""
    size = _size(answer)
    if answer.expected is None or size >= answer.expected:
        return True
    missing = set(known.get(answer.key, ()))
    for links in answer.items:
        missing.difference_update(_principals(links))
    return size + len(missing) >= answer.expected


def _different(
    owners: npt.NDArray[np.int64], members: npt.NDArray[np.int32], answers: int
) -> list[int]:
    """How many members each list shows, however often: a walk that repeats one may lack another.

    `members`: -1 for a link without an id, which is nobody.
    """
    pairs = (owners[members >= 0] << 32) | members[members >= 0]
    pairs.sort()
    is_first = np.append(True, pairs[1:] != pairs[:-1])[: len(pairs)]
    sizes: list[int] = np.bincount(pairs[is_first] >> 32, minlength=answers).tolist()
    return sizes


def _size(answer: Answered[str]) -> int:
    """As `_different`, of one."""
    ids = [pc.struct_field(links, "id") for links in answer.items]
    return int(pc.count_distinct(pa.chunked_array(ids, pa.string())).as_py())


def _principals(links: Structs) -> Iterator[str]:
    """The ids of service principals that a list did show."""
    for link in links.to_pylist():
        if kind_of(link[ODATA_TYPE] or "") == "service_principal":
            yield link["id"]


def _former_rows(job: Job, table: str) -> int:
    info = job.lake.info(table)
    return 0 if info is None else info.rows


def _former_sizes(job: Job) -> dict[str, int]:
    """Members of each large group as of the last commit: a guess of how long each read is."""
    sizes: dict[str, int] = {}
    for file in job.lake.files("group_members"):
        reader = pq.ParquetFile(file, read_dictionary=["group_id"])
        for batch in reader.iter_batches(1 << 18, columns=["group_id"]):
            for count in pc.value_counts(batch.column(0)).to_pylist():
                group = str(count["values"])
                sizes[group] = sizes.get(group, 0) + int(count["counts"])
    return {group: size for group, size in sizes.items() if size > int(PAGE)}


READERS = (
    Reader(
        "groups",
        ("groups", "group_members"),
        _groups,
        gives=("groups.role_assignable",),
        priority=1,
    ),
)
