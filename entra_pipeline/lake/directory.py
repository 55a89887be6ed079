"""The data directory: one tenant's files, for its owner alone, one sync at a time.

Belongs here: where things lie, whose they are, and the lock. What is in the tables belongs to
`store`, what syncs did to `books`.

    <data directory>/         0700
      tenant.json             format and tenant id
      lake/<table>/           Delta tables
      warehouse/              versions of the published warehouse
      warehouse.duckdb        symbolic link to the current one
      books.sqlite            the durable record of syncs and completeness
      sync.lock, sync.json    the lock, and who holds it (for messages only)
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from entra_pipeline.lake.errors import DirectoryBusyError, DirectoryError, OtherTenantError

FORMAT: Final = 1


@dataclass(frozen=True)
class Holder:
    """Who holds the lock, as it said itself."""

    pid: int
    host: str
    started: str  # RFC 3339, UTC
    command: str

    def __str__(self) -> str:
        return f"{self.command} (pid {self.pid} on {self.host}, since {self.started})"


@dataclass(frozen=True)
class DataDirectory:
    """The paths below one data directory. Make one with `claim` or `existing`."""

    path: Path
    tenant_id: str

    @classmethod
    def claim(cls, path: Path, tenant_id: str) -> DataDirectory:
        """The data directory at `path` for that tenant, made if need be, readable by its owner.

        Raises OtherTenantError when it belongs to another tenant, DirectoryError when it cannot
        be made or holds something else.
        """
        tenant_id = tenant_id.strip().lower()
        if not tenant_id:
            raise DirectoryError(f"data directory {path}: no tenant id given; set ENTRA_TENANT_ID")
        path = path.absolute()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.chmod(0o700)
            owner = _tenant(path)
            if owner is None:
                _claim(path, tenant_id)
                owner = _tenant(path)
        except OSError as error:
            raise DirectoryError(
                f"data directory {path} cannot be used ({error.strerror}); give another one in "
                "ENTRA_DATA_DIR or mend its permissions"
            ) from error
        if owner != tenant_id:
            raise OtherTenantError(
                f"data directory {path} belongs to tenant {owner}, not to {tenant_id}: give each "
                "tenant a directory of its own (ENTRA_DATA_DIR)"
            )
        directory = cls(path, tenant_id)
        directory.lake.mkdir(exist_ok=True)
        directory.warehouses.mkdir(exist_ok=True)
        return directory

    @classmethod
    def existing(cls, path: Path) -> DataDirectory:
        """The data directory at `path`, for readers; DirectoryError if there is none."""
        path = path.absolute()
        try:
            owner = _tenant(path)
        except OSError as error:
            raise DirectoryError(
                f"data directory {path} cannot be read ({error.strerror})"
            ) from error
        if owner is None:
            raise DirectoryError(
                f"{path} is no data directory: run `entra-pipeline sync` first, or point "
                "ENTRA_DATA_DIR at an existing one"
            )
        return cls(path, owner)

    @property
    def lake(self) -> Path:
        """The folder of the Delta tables."""
        return self.path / "lake"

    @property
    def warehouses(self) -> Path:
        """The folder of the warehouse's versions."""
        return self.path / "warehouse"

    @property
    def warehouse_link(self) -> Path:
        """The published warehouse: a symbolic link to one of the versions."""
        return self.path / "warehouse.duckdb"

    @property
    def books(self) -> Path:
        """The SQLite file of the books."""
        return self.path / "books.sqlite"

    @property
    def lock_file(self) -> Path:
        """The file whose lock a sync holds."""
        return self.path / "sync.lock"

    @contextlib.contextmanager
    def lock(self, *, wait: float = 0.0, command: str | None = None) -> Iterator[None]:
        """Holds the right to sync; another process that has it keeps it for at most `wait` seconds.

        The lock dies with its process, however it dies. `command` is shown to others who want the
        lock. Raises DirectoryBusyError, which says who holds it.
        """
        # At least a moment: `is_locked` of another process holds it while it looks.
        lock = FileLock(self.lock_file, timeout=max(wait, 0.5), mode=0o600)
        try:
            lock.acquire(poll_interval=0.05)
        except Timeout:
            holder = self.holder()
            waited = f" (waited {wait:g} s)" if wait else ""
            raise DirectoryBusyError(
                f"data directory {self.path} is being synced by "
                f"{holder or 'another process'}{waited}: wait for it to end, or stop it"
            ) from None
        try:
            holder = Holder(
                pid=os.getpid(),
                host=socket.gethostname(),
                started=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
                # No further arguments: they might name people.
                command=command or " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]]),
            )
            _replace(self._holder_file, json.dumps(asdict(holder)))
            yield
        finally:
            self._holder_file.unlink(missing_ok=True)
            lock.release()

    def is_locked(self) -> bool:
        """Whether any process, this one included, holds the right to sync."""
        lock = FileLock(self.lock_file, timeout=0, mode=0o600)
        try:
            lock.acquire()
        except Timeout:
            return True
        lock.release()
        return False

    def holder(self) -> Holder | None:
        """Who said last that it holds the lock; only to be shown, it may be dead."""
        try:
            return Holder(**json.loads(self._holder_file.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    @property
    def _holder_file(self) -> Path:
        return self.path / "sync.json"


def _tenant(path: Path) -> str | None:
    """The tenant that the directory belongs to; None when nobody claimed it."""
    file = path / "tenant.json"
    try:
        said = json.loads(file.read_text())
        found, owner = int(said["format"]), str(said["tenant_id"])
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise DirectoryError(f"{path} is not a directory; give another ENTRA_DATA_DIR") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DirectoryError(
            f"{file} is not readable as the mark of a data directory; restore it or give another "
            "ENTRA_DATA_DIR"
        ) from error
    if found > FORMAT:
        raise DirectoryError(
            f"data directory {path} has format {found}, this program knows {FORMAT}: use the newer "
            "entra-pipeline that wrote it"
        )
    return owner


def _claim(path: Path, tenant_id: str) -> None:
    """Marks the directory as the tenant's, unless another process does so first."""
    said = {
        "format": FORMAT,
        "tenant_id": tenant_id,
        "created": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }
    staged = _stage(path, json.dumps(said, indent=2) + "\n")
    try:
        # A link, unlike a rename, does not replace what another process put there meanwhile.
        os.link(staged, path / "tenant.json")
    except FileExistsError:
        pass
    finally:
        staged.unlink()


def _replace(path: Path, text: str) -> None:
    _stage(path.parent, text).replace(path)


def _stage(folder: Path, text: str) -> Path:
    handle, name = tempfile.mkstemp(dir=folder, prefix=".")
    with open(handle, "w") as file:
        file.write(text)
    return Path(name)
