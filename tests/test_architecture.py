"""The shape of the product, executed: who may import whom, and what the core may never touch."""

from __future__ import annotations

import ast
import builtins
import importlib
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from zipfile import ZipFile

import pytest
from importlinter.cli import lint_imports

from engine.kernel import KERNELS
from tests.support.source import (
    PACKAGES,
    ROOT,
    Function,
    dotted,
    functions,
    imports,
    is_under,
    modules,
    place,
    tracked,
    tree_of,
    uses,
)


def _modules_under(*names: str, but: tuple[str, ...] = ()) -> tuple[Path, ...]:
    found = (path for path in modules() if is_under(dotted(path), frozenset(names)))
    return tuple(path for path in found if not is_under(dotted(path), frozenset(but)))


#: The machine and the checker: no I/O, and nothing that depends on when, where or how often it runs.
CORE = _modules_under(
    "engine", "risk", but=("engine.app", "engine.sinks", "engine.clock", "engine.connections")
)
#: Strategies may call a solver; they too are functions of the log alone.
REPEATABLE = (*CORE, *_modules_under("strategies"))

AMBIENT = frozenset(
    {
        *("time", "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today"),
        *("datetime.date.today", "random", "secrets", "uuid", "os.urandom", "os.environ", "os.getenv"),
        *("pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"),
        *("eval", "exec", "compile", "__import__", "hash", "id"),
    }
)
#: Randomness that is told its seed; everything else under numpy.random is ambient or global.
SEEDED = frozenset(
    f"numpy.random.{name}" for name in ("Generator", "PCG64", "Philox", "SeedSequence", "default_rng")
)
OUTSIDE = frozenset({"asyncio", "socket", "redis", "aiomqtt", "paho", "cvxpy", "pandas"})
#: What a plug-in may know of the engine.
CONTRACTS = frozenset(
    f"engine.{name}"
    for name in ("events", "legs", "ports", "kernel", "errors", "sessions", "layout", "vocabulary")
)
#: Files are sliced in columns, a day at a time: feeds apply the one policy for bars themselves. Live feeds
#: are told which servers to ask, what time it is, and the secrets of a vendor.
OF_FEEDS = frozenset(
    {"engine.columns", "engine.slices", "engine.clock", "engine.connections", "engine.links", "engine.secret"}
)
#: What the core asks of risk is written down where both can see it.
OF_RISK = frozenset({"engine.oversight"})
COMPILERS = frozenset(f"numba.{name}" for name in ("jit", "njit", "vectorize", "guvectorize", "prange"))
BUILTINS = frozenset(dir(builtins))
#: The imported names a kernel may hold: their values never change, so its cache cannot go stale.
FROZEN = {
    "engine.events.OPEN": 0,
    "engine.events.HIGH": 1,
    "engine.events.LOW": 2,
    "engine.events.CLOSE": 3,
    "engine.events.VOLUME": 4,
    "engine.events.MINUTE_NS": 60_000_000_000,
}


def _speak_of(paths: Iterable[Path], banned: frozenset[str]) -> list[str]:
    """List the places that name or import something banned."""
    found = {
        f"{place(path, use.line)} {use.name}"
        for path in paths
        for use in (*uses(tree_of(path)), *(use for _, use in imports(tree_of(path))))
        if is_under(use.name, banned)
    }
    return sorted(found)


def _calls(path: Path, names: frozenset[str]) -> list[ast.Call]:
    """List the calls in a module of what is imported under one of ``names``."""
    tree = tree_of(path)
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [call for call in calls if any(is_under(use.name, names) for use in uses(tree, call.func))]


def _kernels_of(path: Path) -> list[Function]:
    """List the functions of a module that go through the door to Numba."""
    tree = tree_of(path)
    return [
        function
        for function in functions(tree)
        for decorator in function.decorator_list
        if any(use.name == "engine.kernel.kernel" for use in uses(tree, decorator))
    ]


def test_imports_run_one_way(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A layer that looks upwards would make replay, live and recovery three different programs."""
    monkeypatch.chdir(ROOT)
    status = lint_imports(no_cache=True, no_logo=True)
    assert status == 0, capsys.readouterr().out


def test_imports_are_absolute() -> None:
    """A relative import hides from the reader, and from import-linter, which layer it reaches for."""
    relative = [
        place(path, node.lineno)
        for path in modules()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


@pytest.mark.parametrize("package", PACKAGES)
def test_top_level_packages_are_ours(package: str) -> None:
    """Names as plain as ``engine`` could be another distribution's: ours must be the one imported."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        distribution = tomllib.load(file)["project"]["name"]
    imported = importlib.import_module(package)
    assert distribution == imported.PART_OF
    assert Path(str(imported.__file__)).is_relative_to(ROOT)


def test_wheel_holds_the_packages_whole(tmp_path: Path) -> None:
    """An editable install finds every file on disk; only the wheel shows what users would lack."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
    kept = {place(path) for path in tracked() if path.relative_to(ROOT).parts[0] in PACKAGES}
    assert shipped == kept


def test_core_does_no_io_and_solves_nothing() -> None:
    """A core that awaits, opens a socket or solves cannot be a function of its log."""
    assert _speak_of(CORE, OUTSIDE) == []


def test_decisions_read_no_clock_and_draw_no_chance() -> None:
    """Whatever the log does not hold must not decide: a replay could not repeat it."""
    assert _speak_of(REPEATABLE, AMBIENT) == []


def test_randomness_is_told_its_seed() -> None:
    """``default_rng()`` without a seed, or numpy's global generator, draws differently in each run."""
    of_numpy = frozenset({"numpy.random"})
    ambient = [
        f"{place(path, use.line)} {use.name}"
        for path in REPEATABLE
        for use in uses(tree_of(path))
        if is_under(use.name, of_numpy) and use.name != "numpy.random" and not is_under(use.name, SEEDED)
    ]
    unseeded = [
        place(path, call.lineno)
        for path in REPEATABLE
        for call in _calls(path, SEEDED)
        if not (call.args or call.keywords)
    ]
    assert ambient + unseeded == []


def test_no_loop_runs_over_a_set() -> None:
    """The order of a set of strings changes with the hash seed, and with it the bytes of a run."""
    loops = [
        (path, node.iter)
        for path in REPEATABLE
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.For | ast.comprehension)
    ]
    assert [place(path, over.lineno) for path, over in loops if _is_set(over)] == []


def _is_set(node: ast.expr) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in {"set", "frozenset"}
    return isinstance(node, ast.Set | ast.SetComp)


def test_plugins_know_only_the_contracts() -> None:
    """A strategy that reached into the book or the loop could not run anywhere else."""
    strangers = [
        f"{place(path, use.line)} {use.name}"
        for package, more in (("feeds", OF_FEEDS), ("strategies", frozenset()), ("risk", OF_RISK))
        for path in _modules_under(package)
        for _, use in imports(tree_of(path))
        if is_under(use.name, frozenset(PACKAGES)) and not is_under(use.name, CONTRACTS | more | {package})
    ]
    assert strangers == []


def test_only_the_gate_grants_permission() -> None:
    """The type is the permission: whoever else could make one could trade past the limit."""
    granted_in = {
        dotted(path) for path in modules() if _calls(path, frozenset({"engine.events.TargetApproved"}))
    }
    assert granted_in == {"risk.gate"}


def test_numba_has_one_door() -> None:
    """Options set in two places drift apart: only engine/kernel.py compiles what the engine runs."""
    # The doctor compiles one line of its own, to see whether Numba works on this machine at all.
    others = _modules_under(*PACKAGES, but=("engine.kernel", "engine.app.doctor"))
    assert _speak_of(others, COMPILERS) == []


def test_kernels_lean_on_nothing_outside_their_file() -> None:
    """The disk cache sees changes of a kernel's own file only: a name from elsewhere would go stale."""
    allowed = frozenset({"numpy", "math", *FROZEN})
    leaning: list[str] = []
    for path in modules():
        kernels, tree = _kernels_of(path), tree_of(path)
        own = {kernel.name for kernel in kernels}
        imported = frozenset(use.name for _, use in imports(tree))
        for kernel in kernels:
            # The body only: annotations and the decorator are not compiled.
            body = ast.Module(body=kernel.body, type_ignores=[])
            called = {
                id(n.func) for n in ast.walk(body) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
            }
            for node in ast.walk(body):
                if not isinstance(node, ast.Name | ast.Attribute):
                    continue
                name = next((use.name for use in uses(tree, node)), "")
                is_foreign = is_under(name, imported) and not is_under(name, allowed)
                is_plain_call = (
                    id(node) in called and name not in own | BUILTINS and not is_under(name, allowed)
                )
                if is_foreign or is_plain_call:
                    leaning.append(f"{place(path, node.lineno)} {kernel.name} uses {name}")
    assert leaning == []


@pytest.mark.parametrize(("name", "value"), FROZEN.items())
def test_frozen_constants_stand(name: str, value: int) -> None:
    """Kernels compiled yesterday hold these values: a changed one needs a new name."""
    module, _, constant = name.rpartition(".")
    assert getattr(importlib.import_module(module), constant) == value


def test_kernels_keep_the_order_of_sums() -> None:
    """``fastmath`` and parallel reductions change the last bits from one machine to the next."""
    written: set[str] = set()
    for path in modules():
        if kernels := _kernels_of(path):
            importlib.import_module(dotted(path))
            written |= {f"{dotted(path)}.{function.name}" for function in kernels}
    options = {name: KERNELS[name].targetoptions for name in written}  # type: ignore[attr-defined]
    assert options
    assert [name for name, chosen in options.items() if chosen["fastmath"] or chosen.get("parallel")] == []
