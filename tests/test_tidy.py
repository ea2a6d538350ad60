"""The house style, executed: what a reviewer would otherwise have to say twice."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.source import PACKAGES, ROOT, Function, functions, modules, place, tracked, tree_of

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
TEXT_BYTES_MAX = 2_000_000
LOCKS = tuple(ROOT / "requirements" / name for name in ("dev.txt", "runtime.txt"))

#: Words that say nothing about what a thing is.
_EMPTY_NAME = re.compile(
    r"(?:^|_)(?:manager|utils?|helpers?|base|abstract|misc|common)$|Manager$|Utils?$|Helper$|Base$"
)
#: Written in pieces, so that this file passes its own test.
_REGISTRIES = (
    "py" + "pi",
    "python" + "hosted",
    "npm" + "js",
    "registry." + "npm",
    "docker" + ".io",
    "gh" + "cr.io",
)
_ADDRESS = re.compile(r"[a-z][a-z+]*:/" + r"/|^-" + "-(?:index|extra-index|find-links|trusted)", re.MULTILINE)
_MACHINE_PATH = re.compile(r"(?<![\w.~*-])/(?:root|home|Users|work)" + r"/\w|[A-Z]:\\Users")
_BESIDE = "../" + "shared"
#: Documents and places that the product neither names nor needs.
_ELSEWHERE = re.compile(
    "|".join(
        [
            *(r"\b" + name + r"\.md\b" for name in ("quant", "design", "quality")),
            r"\b[Ss]ource" + r" 00\d",
            r"\bwork" + r" session",
            r"\bissue" + r" #?\d",
            re.escape(_BESIDE),
        ]
    )
)

python_files = tuple(path for path in tracked() if path.suffix == ".py")


def _texts() -> Iterable[tuple[Path, str]]:
    for path in tracked():
        if path.stat().st_size <= TEXT_BYTES_MAX:
            try:
                yield path, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


def _lines_of(pattern: re.Pattern[str], *, but: frozenset[str] = frozenset()) -> list[str]:
    """List the lines of all kept text files in which a pattern occurs."""
    return [
        f"{place(path, number)} {line.strip()[:80]}"
        for path, text in _texts()
        if place(path) not in but
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def test_files_are_short() -> None:
    """A file that fits in the head is one that gets read."""
    lengths = {place(path): len(path.read_text(encoding="utf-8").splitlines()) for path in python_files}
    assert {name: n for name, n in lengths.items() if n > FILE_LINES_MAX} == {}


def test_functions_are_short() -> None:
    """A function on one screen shows all it does; its docstring does not count."""
    lengths = {
        place(path, f.lineno): _body_lines(f)
        for path in python_files
        if "story" not in path.parts  # a story is told in one breath
        for f in functions(tree_of(path))
    }
    assert {name: n for name, n in lengths.items() if n > FUNCTION_LINES_MAX} == {}


def _body_lines(function: Function) -> int:
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_everything_public_is_documented() -> None:
    """A public name without a docstring is a promise nobody wrote down."""
    silent = [
        place(path, getattr(node, "lineno", 1))
        for path in modules()
        for node in _public(tree_of(path))
        if not (ast.get_docstring(node) or "").strip()
    ]
    assert silent == []


def _public(node: ast.Module | ast.ClassDef) -> Iterable[ast.Module | ast.ClassDef | Function]:
    yield node
    for child in node.body:
        if isinstance(child, ast.ClassDef | Function) and not child.name.startswith("_"):
            if isinstance(child, ast.ClassDef):
                yield from _public(child)
            elif not any(isinstance(d, ast.Name) and d.id == "overload" for d in child.decorator_list):
                yield child


def test_every_test_says_why_it_matters() -> None:
    """When it fails in three years, one line has to say what was promised to whom."""
    silent = [
        place(path, function.lineno)
        for path in python_files
        if path.is_relative_to(ROOT / "tests") and path.name.startswith("test_")
        for function in functions(tree_of(path))
        if function.name.startswith("test_") and not ast.get_docstring(function)
    ]
    assert silent == []


def test_names_say_what_a_thing_is() -> None:
    """A manager, a helper or a base can be anything, and soon is."""
    names = [(place(path), path.stem) for path in python_files]
    names += [
        (place(path, node.lineno), node.name)
        for path in python_files
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ClassDef | Function)
    ]
    assert [f"{where} {name}" for where, name in names if _EMPTY_NAME.search(name)] == []


def test_test_folders_are_no_packages() -> None:
    """A ``tests/feeds/__init__.py`` would hide the real ``feeds`` from every test beside it."""
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_no_file_names_a_package_registry() -> None:
    """Where packages come from is the installer's setting; a name in a file would override a mirror."""
    assert _lines_of(re.compile("|".join(map(re.escape, _REGISTRIES)))) == []


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    """A path into somebody's home works on one machine only."""
    assert _lines_of(_MACHINE_PATH) == []


def test_the_product_speaks_of_itself_alone() -> None:
    """A reader has this repository and nothing else."""
    assert _lines_of(_ELSEWHERE, but=frozenset({"tests/support/shared.py"})) == []


def _pins(lock: Path) -> dict[str, list[str]]:
    """Map each locked ``name==version`` to its hashes."""
    pins: dict[str, list[str]] = {}
    hashes: list[str] = []
    for line in lock.read_text(encoding="utf-8").splitlines():
        if found := re.match(r"[A-Za-z0-9][^ ]*", line):
            hashes = pins.setdefault(found.group(), [])
        hashes += re.findall(r"--hash=(sha256:[0-9a-f]{64})\b", line)
    return pins


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_locks_pin_by_hash_and_name_no_address(lock: Path) -> None:
    """A pin without a hash trusts whoever answers; an address chooses who that is."""
    pins = _pins(lock)
    assert pins
    assert [pin for pin, hashes in pins.items() if "==" not in pin or not hashes] == []
    assert _ADDRESS.findall(lock.read_text(encoding="utf-8")) == []


def test_runtime_lock_is_part_of_the_development_lock() -> None:
    """What ships must be what was tested, file by file."""
    dev, runtime = (_pins(lock) for lock in LOCKS)
    assert {pin: hashes for pin, hashes in runtime.items() if dev.get(pin) != hashes} == {}


def _required() -> dict[str, list[Requirement]]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    runtime = [Requirement(text) for text in project["dependencies"]]
    return {
        "runtime.txt": runtime,
        "dev.txt": runtime + [Requirement(t) for ts in project["optional-dependencies"].values() for t in ts],
    }


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_lock_answers_every_requirement(lock: Path) -> None:
    """Somebody who adds a dependency and forgets ``make lock`` hears of it here, not on another machine."""
    locked = dict(pin.split("==") for pin in _pins(lock))
    stale = [
        str(requirement)
        for requirement in _required()[lock.name]
        if not requirement.specifier.contains(
            locked.get(canonicalize_name(requirement.name), "0"), prereleases=True
        )
    ]
    assert stale == []


def test_environment_is_the_locked_one() -> None:
    """Figures and digests are stated for these versions; others would make a failure hard to read."""
    pins = dict(pin.split("==") for pin in _pins(LOCKS[0]))
    drifted = {
        name: version(name) for name in ("numpy", "numba", "scipy", "pandas") if version(name) != pins[name]
    }
    assert drifted == {}


def test_every_dependency_is_argued_for() -> None:
    """A dependency is somebody else's code in a risk engine: the record says why it is worth that."""
    record = (ROOT / "docs/decisions/0002-dependencies.md").read_text(encoding="utf-8")
    argued = set(re.findall(r"^\| `([a-z0-9-]+)`", record, re.MULTILINE))
    named = {canonicalize_name(requirement.name) for requirement in _required()["dev.txt"]}
    assert named - argued == set(), "needs a line in docs/decisions/0002-dependencies.md"
    assert argued - named == set(), "is argued for, but no longer a dependency"


def test_packages_are_marked_as_typed() -> None:
    """Without the marker, code that imports these packages would see no types."""
    assert [package for package in PACKAGES if not (ROOT / package / "py.typed").is_file()] == []
