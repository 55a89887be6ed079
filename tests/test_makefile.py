"""The Makefile on machines that are not ready: what it says, and what it picks."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A directory with the Makefile and the lock, without an environment."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "dev.txt").write_text("nothing==1 --hash=sha256:0\n")
    return tmp_path


def python(directory: Path, name: str, *, version: tuple[int, int], venv: bool = True) -> None:
    """A stand-in interpreter of some version, which notes that it was asked for an environment."""
    directory.mkdir(exist_ok=True)
    new = 0 if version >= (3, 11) else 1
    script = f"""#!/bin/sh
case "$1" in
  -c) exit {new} ;;
  --version) echo "Python {version[0]}.{version[1]}.0" ;;
  -m) echo "{name} $DAGSTER_HOME" > chosen; exit {1 if not venv else 9} ;;
esac
"""
    (directory / name).write_text(script)
    (directory / name).chmod(0o755)


def make(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make with the stand-ins first on the PATH and nothing else in the environment."""
    path = f"{checkout / 'bin'}:/usr/bin:/bin"
    return subprocess.run(
        ["make", *arguments],
        cwd=checkout,
        env={"PATH": path, "HOME": os.environ.get("HOME", str(checkout))},
        capture_output=True,
        text=True,
        check=False,
    )


def hide_system_pythons(checkout: Path) -> None:
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        python(checkout / "bin", name, version=(3, 9))


def test_make_alone_lists_targets_and_makes_nothing(checkout: Path) -> None:
    done = make(checkout)
    assert done.returncode == 0
    assert "make demo" in done.stdout
    assert not (checkout / ".venv").exists()


def test_too_old_a_python_is_refused_with_its_version_and_the_remedy(checkout: Path) -> None:
    hide_system_pythons(checkout)
    done = make(checkout, "venv")
    assert done.returncode != 0
    assert "needs Python 3.11 or newer; python3 here is: Python 3.9.0" in done.stderr
    assert "make PYTHON=" in done.stderr


def test_a_newer_python_beside_an_old_python3_is_used(checkout: Path) -> None:
    hide_system_pythons(checkout)
    python(checkout / "bin", "python3.12", version=(3, 12))
    make(checkout, "venv")
    assert (checkout / "chosen").read_text().split() == ["python3.12"]


def test_a_python_without_its_venv_module_is_told_apart(checkout: Path) -> None:
    hide_system_pythons(checkout)
    python(checkout / "bin", "python3", version=(3, 11), venv=False)
    done = make(checkout, "venv")
    assert done.returncode != 0
    assert "is its venv module installed" in done.stderr


def test_a_relative_dagster_home_is_passed_on_as_absolute(checkout: Path) -> None:
    python(checkout / "bin", "python3", version=(3, 11))
    make(checkout, "venv", "DAGSTER_HOME=here")
    assert (checkout / "chosen").read_text().split() == ["python3", f"{checkout}/here"]
