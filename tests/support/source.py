"""The project's own source as data: what the tests of architecture and tidiness read."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("engine", "feeds", "strategies", "risk")

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Use(NamedTuple):
    """A place in a file that names something outside it, by its full dotted name."""

    line: int
    name: str


@cache
def tracked() -> tuple[Path, ...]:
    """Return every file git keeps or would keep, without those it is told to ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    paths = (ROOT / name for name in sorted(set(listed.split("\0"))) if name)
    return tuple(path for path in paths if path.is_file())


@cache
def modules() -> tuple[Path, ...]:
    """Return the modules of the four packages, in the order of their paths."""
    return tuple(path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))


@cache
def tree_of(path: Path) -> ast.Module:
    """Return the parsed file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def place(path: Path, line: int = 0) -> str:
    """Return ``path:line`` as seen from the root, for messages that an editor can open."""
    return f"{path.relative_to(ROOT)}:{line}" if line else str(path.relative_to(ROOT))


def dotted(path: Path) -> str:
    """Return the name a module is imported by."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def functions(tree: ast.AST) -> Iterator[Function]:
    """Yield every function and method below a node."""
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def imports(tree: ast.AST) -> Iterator[tuple[str, Use]]:
    """Yield each import as the name it binds and what that name stands for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.partition(".")[0]
                stands_for = alias.name if alias.asname else bound
                yield bound, Use(node.lineno, stands_for)
                if stands_for != alias.name:
                    yield bound, Use(node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, Use(node.lineno, f"{node.module}.{alias.name}")


@cache
def _meanings(tree: ast.AST) -> dict[str, str]:
    return {bound: use.name for bound, use in reversed(list(imports(tree)))}


def uses(tree: ast.AST, within: ast.AST | None = None) -> Iterator[Use]:
    """Yield every imported or builtin name that code speaks of, aliases resolved.

    Parameters
    ----------
    tree : ast.AST
        The whole module: its imports say what a name stands for.
    within : ast.AST, optional
        The part to look at; by default all of it.
    """
    meanings = _meanings(tree)
    for node in ast.walk(within or tree):
        attributes: list[str] = []
        part: ast.AST = node
        while isinstance(part, ast.Attribute):
            attributes.append(part.attr)
            part = part.value
        if isinstance(part, ast.Name):
            root = meanings.get(part.id, part.id)
            yield Use(part.lineno, ".".join([root, *reversed(attributes)]))


def is_under(name: str, prefixes: frozenset[str]) -> bool:
    """Tell whether a dotted name is one of ``prefixes`` or lies inside one."""
    parts = name.split(".")
    return any(".".join(parts[:i]) in prefixes for i in range(1, len(parts) + 1))
