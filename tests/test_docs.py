"""The documentation holds: links lead somewhere, generated parts are what the code would write."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from entra_pipeline import settings_reference
from entra_pipeline.cli.app import app
from entra_pipeline.cli.readme import (
    PROVISIONING,
    fewest,
    narrowest,
    refreshed,
    refreshed_writes,
    unlocked,
)
from entra_pipeline.tables import TABLES
from entra_pipeline.tables import reference as tables_reference

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")])
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    titles = re.findall(r"^#+ +(.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles)
    return set(kept)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_of_ours_resolves(page: Path) -> None:
    broken = []
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.is_file() and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_of_docs_is_in_its_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    missing = [
        p.name
        for p in ROOT.glob("docs/*.md")
        if p.name != "README.md" and f"({p.name})" not in index
    ]
    assert missing == []


def test_the_permission_tables_are_what_the_declarations_say() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme == refreshed(readme), "stale: run `make docs`"
    page = (ROOT / PROVISIONING).read_text(encoding="utf-8")
    assert page == refreshed_writes(page), "stale: run `make docs`"


def test_the_generated_references_are_what_the_declarations_say() -> None:
    generated = {
        "docs/tables.md": tables_reference.markdown(),
        settings_reference.REFERENCE: settings_reference.reference(),
        settings_reference.EXAMPLE: settings_reference.example(),
    }
    stale = [
        str(path)
        for path, text in generated.items()
        if (ROOT / path).read_text(encoding="utf-8") != text
    ]
    assert stale == [], "stale: run `make docs`"


def test_either_set_of_permissions_unlocks_every_table() -> None:
    needed = {table.name for table in TABLES.values() if table.permissions}
    assert {table.name for table in unlocked(fewest())} == needed
    assert {table.name for table in unlocked(narrowest())} == needed


def test_no_permission_that_the_readme_asks_for_can_write() -> None:
    asked = {*fewest(), *narrowest()}
    assert [name for name in asked if "Write" in name or ".Read" not in name] == []


def test_every_command_that_the_readme_shows_exists() -> None:
    commands = {command.name for command in app.registered_commands}
    commands |= {group.name for group in app.registered_groups}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = set(
        re.findall(
            r"(?:^ *|`|\$ )(?:\.venv/bin/)?entra-pipeline ([a-z][a-z-]*)", readme, re.MULTILINE
        )
    )
    assert shown - commands == set()
    assert {"access", "who-can", "explain", "query", "export", "doctor", "sync"} <= shown


def test_every_make_target_that_the_pages_name_is_listed_by_make() -> None:
    listed = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True)
    targets = set(re.findall(r"^  make (\S+)", listed.stdout, re.MULTILINE))
    named: set[str] = set()
    for page in PAGES:
        named.update(
            re.findall(r"(?:^|`)make ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
        )
    assert named - targets == set()
    assert {"demo", "test", "soak", "bench", "ui", "lint", "lock", "clean"} <= targets
