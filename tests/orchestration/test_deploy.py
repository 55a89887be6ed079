"""The container's recipe names what is there, and ships what a run needs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()


def test_everything_that_the_recipe_copies_exists() -> None:
    copied = re.findall(r"^COPY (?!--from)(?:--\S+ )*(.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = [name for names in copied for name in names.split()]
    assert "deploy/postgres/dagster.yaml" in sources
    assert [name for name in sources if not (ROOT / name).exists()] == []


def test_the_build_backend_is_the_one_that_the_lock_names() -> None:
    script = re.search(r'pip install "\$\((sed .+)\)"', DOCKERFILE)
    assert script
    pinned = subprocess.run(
        ["sh", "-c", script[1]], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert re.fullmatch(r"hatchling==[\d.]+\n", pinned)


def test_the_wheel_holds_assets_and_the_instances_configuration(tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, tmp_path / name)
    for package in ("entra_pipeline", "assets"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "."],
        cwd=tmp_path,
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert wheel.name.startswith(project["project"]["name"].replace("-", "_"))
    assert {"assets/directory.py", "entra_pipeline/orchestration/dagster.yaml"} <= names


def test_each_lock_that_the_recipe_can_install_has_everything_that_a_run_needs() -> None:
    assert "-r requirements/${REQUIREMENTS}.txt" in DOCKERFILE

    def pins(name: str) -> set[str]:
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        return set(re.findall(r"^([a-z0-9][a-z0-9._-]*==\S+)", text, re.MULTILINE))

    runtime, everything, dev = pins("runtime"), pins("all"), pins("dev")
    assert runtime < everything <= dev | runtime
    for library in ("azure-keyvault-secrets", "azure-identity", "hvac"):
        assert any(pin.startswith(f"{library}==") for pin in everything - runtime)
