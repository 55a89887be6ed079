"""What a commit says about itself, in the Delta log beside the data that it added.

Data, cursor and the version of the history that counts become durable together or not at all.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from deltalake import CommitProperties

from entra_pipeline.lake.errors import LakeError

_KEPT: Final = 256  # commits whose words are remembered: those of now, of every table there is
_METADATA: Final = "entra_pipeline"


@dataclass(frozen=True)
class Checkpoint:
    """A copy of the content as it was from a moment on, until the next change."""

    at: datetime
    files: tuple[str, ...]  # names in the folder `<table>_checkpoints`, in key order


@dataclass(frozen=True)
class StoredFile:
    """One file of a version: the rows from its first key up to the first key of the next."""

    name: str  # names are in key order
    rows: int
    digest: str  # the sum of its chunks
    first: tuple[Any, ...]  # the key of its first row


@dataclass(frozen=True)
class CommitInfo:
    """What the current version of a table says about itself."""

    table: str
    version: int  # of the Delta table; grows with every commit
    rows: int
    sync_id: str
    as_of: datetime  # when the rows were read from Graph
    declaration: int  # version of the declaration that they were written with
    digest: str
    cursor: str | None  # delta link or watermark to continue from
    full_as_of: datetime  # when the rows were last read whole; amendments came since
    first_as_of: datetime  # when the table was first read
    known_since: datetime  # the history reaches back to here: first_as_of, later if it was trimmed
    changed_as_of: datetime  # the newest time in the history, or when the first rows were read
    changes_version: int | None  # of the history; None: nothing has changed yet
    changes_since: int  # rows in the history since the last checkpoint
    checkpoints: tuple[Checkpoint, ...]  # in order of time
    # In key order. None: one file, written when every version was one. Says nothing of the content.
    files: tuple[StoredFile, ...] | None = field(compare=False)


@dataclass(frozen=True)
class Commit:
    """What a commit did."""

    info: CommitInfo
    changed: bool  # False: equal content, only the metadata moved on
    duplicates: int  # rows dropped because another had the same key
    changes: int  # rows inserted, updated and deleted; of a first commit 0

    @property
    def version(self) -> int:
        """The version of the Delta table that the commit made."""
        return self.info.version

    @property
    def rows(self) -> int:
        """Rows of the table after the commit."""
        return self.info.rows


def properties(info: CommitInfo) -> CommitProperties:
    """The metadata to commit with."""
    return CommitProperties(
        custom_metadata={
            _METADATA: {
                "sync_id": info.sync_id,
                "as_of": _text(info.as_of),
                "declaration": info.declaration,
                "digest": info.digest,
                "rows": info.rows,
                "cursor": info.cursor,
                "full_as_of": _text(info.full_as_of),
                "first_as_of": _text(info.first_as_of),
                "known_since": _text(info.known_since),
                "changed_as_of": _text(info.changed_as_of),
                "changes_version": info.changes_version,
                "changes_since": info.changes_since,
                "checkpoints": [
                    {"at": _text(c.at), "file": c.files[0]}
                    if len(c.files) == 1
                    else {"at": _text(c.at), "files": list(c.files)}
                    for c in info.checkpoints
                ],
            }
            | _listed(info.files)
        },
        # One writer at a time holds the data directory's lock: a conflict is a fault to show.
        max_commit_retries=0,
    )


def load(root: Path, name: str, version: int) -> CommitInfo:
    """What that version of a table says; LakeError if this program did not commit it.

    Commits of versions of this program that kept no history count as the first ones.
    """
    path = root / name / "_delta_log" / f"{version:020}.json"
    try:
        written = path.stat()
        return _loaded(path, (written.st_ino, written.st_mtime_ns, written.st_size), name, version)
    except (OSError, ValueError, KeyError, StopIteration) as error:
        raise LakeError(
            f"table {name} in {root}: version {version} was not committed by this program "
            f"({type(error).__name__}); move the folder away and sync again"
        ) from error


@lru_cache(maxsize=_KEPT)
def _loaded(path: Path, _file: tuple[int, ...], name: str, version: int) -> CommitInfo:
    """The same from the file, which is asked for many times in a sync and never changes."""
    with path.open("rb") as lines:
        actions = (json.loads(line) for line in lines)
        said: dict[str, Any] = next(a["commitInfo"] for a in actions if "commitInfo" in a)
    said = said[_METADATA]
    as_of = datetime.fromisoformat(said["as_of"])
    first = _moment(said, "first_as_of", as_of)
    return CommitInfo(
        table=name,
        version=version,
        rows=said["rows"],
        sync_id=said["sync_id"],
        as_of=as_of,
        declaration=said["declaration"],
        digest=said["digest"],
        cursor=said["cursor"],
        full_as_of=_moment(said, "full_as_of", as_of),
        first_as_of=first,
        known_since=_moment(said, "known_since", first),
        changed_as_of=_moment(said, "changed_as_of", first),
        changes_version=said.get("changes_version"),
        changes_since=said.get("changes_since", 0),
        checkpoints=tuple(
            Checkpoint(
                datetime.fromisoformat(c["at"]),
                tuple(c["files"]) if "files" in c else (c["file"],),
            )
            for c in said.get("checkpoints", [])
        ),
        files=_files(said),
    )


def _listed(files: tuple[StoredFile, ...] | None) -> dict[str, Any]:
    if files is None:
        return {}
    return {"files": [[f.name, f.rows, f.digest, list(f.first)] for f in files]}


def _files(said: dict[str, Any]) -> tuple[StoredFile, ...] | None:
    if "files" not in said:
        return None
    return tuple(
        StoredFile(name, rows, digest, tuple(first)) for name, rows, digest, first in said["files"]
    )


def _moment(said: dict[str, Any], name: str, otherwise: datetime) -> datetime:
    return datetime.fromisoformat(said[name]) if name in said else otherwise


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
