"""Who may import whom. The domain runs, and is tested, without an orchestrator."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import assets
import entra_pipeline

ROOT = Path(entra_pipeline.__file__).parent.parent
DOMAIN = {
    "msgraph",
    "exchange",
    "extract",
    "lake",
    "access",
    "provisioning",
    "tables",
    "settings",
}


def modules() -> dict[str, Path]:
    """Our modules by dotted name."""
    files = [*ROOT.glob("entra_pipeline/**/*.py"), *ROOT.glob("assets/**/*.py")]
    names = {file: file.relative_to(ROOT).with_suffix("").parts for file in files}
    return {".".join(p for p in parts if p != "__init__"): f for f, parts in names.items()}


def imports(name: str, file: Path) -> Iterator[str]:
    """What a module imports, anywhere in it, as dotted names."""
    package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(file.read_bytes(), str(file))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def layer(name: str) -> str:
    """The part of the program that a module belongs to."""
    parts = name.split(".")
    return parts[1] if parts[0] == "entra_pipeline" and len(parts) > 1 else parts[0]


def forbidden(name: str, target: str) -> bool:
    """Whether the module must not import the target."""
    source, wanted = layer(name), layer(target)
    foreign_dagster = target.split(".")[0].startswith("dagster")
    if source == "simulator":
        return target.startswith("entra_pipeline.") and wanted != "simulator"
    if wanted == "simulator" and target.startswith("entra_pipeline."):
        return source != "cli"
    if source in DOMAIN:
        return foreign_dagster or wanted in {"assets", "orchestration", "definitions", "cli"}
    if source == "orchestration":
        return wanted == "assets"
    return False


@pytest.mark.parametrize(("name", "file"), sorted(modules().items()))
def test_imports_follow_the_layers(name: str, file: Path) -> None:
    targets = set(imports(name, file))
    assert {target for target in targets if forbidden(name, target)} == set()
    if layer(name) in {"msgraph", "lake"}:
        other = {"msgraph": "entra_pipeline.lake", "lake": "entra_pipeline.msgraph"}[layer(name)]
        assert not {target for target in targets if target.startswith(other)}


def test_the_rule_itself_can_fail() -> None:
    assert forbidden("entra_pipeline.lake.store", "dagster")
    assert forbidden("entra_pipeline.tables.model", "assets.directory")
    assert forbidden("entra_pipeline.simulator.wire", "entra_pipeline.tables")
    assert forbidden("assets.directory", "entra_pipeline.simulator")
    assert forbidden("entra_pipeline.orchestration.jobs", "assets")
    assert not forbidden("entra_pipeline.cli.demo", "entra_pipeline.simulator")
    assert not forbidden("assets.directory", "entra_pipeline.orchestration.jobs")
    assert not forbidden("entra_pipeline.extract.run", "entra_pipeline.lake")


def test_assets_is_ours_and_not_a_stray_package() -> None:
    assert Path(assets.__path__[0]).parent == ROOT
