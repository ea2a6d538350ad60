"""The process: exit statuses, streams, and a start without heavy imports."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.app import main as main_module
from engine.app.main import run
from engine.errors import CommandError, ConfigError, DataError, Errors, JournalError, ServiceError

HEAVY = ("numpy", "numba", "cvxpy", "pandas", "pyarrow", "exchange_calendars", "scipy", "pydantic")


def astra(*argv: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "engine.app.main", *argv],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_imports_nothing_heavy() -> None:
    """``astra --help`` must answer before a finger has left the key."""
    script = (
        "import sys; from engine.app.main import run; status = run(['--help']); "
        f"print(status, sorted(set(sys.modules) & set({HEAVY!r})))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_one_blas_thread_is_set_before_numpy(tmp_path: Path) -> None:
    """A sum that depends on the number of cores would break replay on another machine."""
    script = (
        "import os, sys; import engine.app.main as m; m.run = lambda argv: print("
        "os.environ['OPENBLAS_NUM_THREADS'], os.environ['OMP_NUM_THREADS'], 'numpy' in sys.modules) or 0; "
        "m.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "OMP_NUM_THREADS": "8"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1 1 False\n"


def test_errors_go_to_stderr_without_traceback_and_stdout_stays_clean(tmp_path: Path) -> None:
    """Output is piped into programs; an error must never land in it."""
    done = astra("replay", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error[C008] there is no configuration at astra.toml")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("argv", "code", "where", "what"),
    [
        (["replay", "--json"], "C008", "", "there is no configuration at astra.toml"),
        (["var", "none.json", "--json"], "C013", "none.json", "there is no file none.json"),
        (["replay", "--json", "--foo"], "usage", "astra replay", "--foo"),
        (["optimise", "--json"], "usage", "astra optimise", "Missing argument 'FILE.json'."),
        (["run", "--json"], "usage", "astra run", "--json"),
    ],
)
def test_a_failure_of_json_is_one_object_too(
    argv: list[str],
    code: str,
    where: str,
    what: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A program that reads ``--json`` must not have to read sentences when something is wrong."""
    monkeypatch.chdir(tmp_path)
    assert run(argv) == 2
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert (document["error"]["code"], document["error"]["where"], document["further"]) == (code, where, [])
    assert what in document["error"]["what"]
    assert said.err


def test_several_faults_are_one_object(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All faults of a file are reported at once, to programs as well."""

    def fail(*_args: Any, **_options: Any) -> None:
        raise Errors([ConfigError("C001", "one", "a:1", "why"), ConfigError("C002", "two")])

    monkeypatch.setattr("engine.app.cli.app", fail)
    assert run(["--json"]) == 2
    assert json.loads(capsys.readouterr().out) == {
        "error": {"code": "C001", "what": "one", "where": "a:1", "hint": "why"},
        "further": [{"code": "C002", "what": "two", "where": "", "hint": ""}],
    }


def test_an_interruption_and_a_defect_are_one_object(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C, as typer hands it over, and a broken engine: the reader still finds an object."""
    monkeypatch.setattr("engine.app.cli.app", lambda **_options: 130)
    assert run(["--json"]) == 130
    said = capsys.readouterr()
    assert (json.loads(said.out)["error"]["code"], said.err) == ("interrupted", "interrupted\n")

    def fail(*_args: Any, **_options: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("engine.app.cli.app", fail)
    with pytest.raises(ZeroDivisionError):
        run(["--json"])
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "defect"


def test_debug_shows_the_traceback_wherever_it_stands(tmp_path: Path) -> None:
    """Who asks for help needs the traceback; who does not must be spared it."""
    done = astra("replay", "--debug", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "error[C008]" in done.stderr


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (ConfigError("C001", "x"), 2),
        (CommandError("O001", "x"), 2),
        (DataError("D001", "x"), 3),
        (JournalError("J001", "x"), 3),
        (ServiceError("S001", "x"), 5),
        (OSError(28, "No space left on device", "/data"), 5),
        (KeyboardInterrupt(), 130),
        (SystemExit(4), 4),
    ],
)
def test_each_kind_of_failure_has_its_exit_status(
    raised: BaseException, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scripts act on the exit status; it is a contract."""

    def fail(*_args: Any, **_options: Any) -> None:
        raise raised

    monkeypatch.setattr("engine.app.cli.app", fail)
    assert run([]) == status
    assert "Traceback" not in capsys.readouterr().err


def test_a_defect_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken engine must fail loudly, with the traceback that finds the defect."""

    def fail(*_args: Any, **_options: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("engine.app.cli.app", fail)
    with pytest.raises(ZeroDivisionError):
        run([])


def test_a_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    """``astra ... | head`` is normal use."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "engine.app.main", "--version"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_usage_errors_exit_2(tmp_path: Path) -> None:
    """A mistyped verb or option is a usage error with a hint."""
    verb = astra("replya", cwd=tmp_path)
    assert (verb.returncode, verb.stdout) == (2, "")
    assert "replay" in verb.stderr
    assert astra("replay", "--no-such-option", cwd=tmp_path).returncode == 2


def test_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    """The first line of every defect report."""
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("astra ")


def test_the_script_entry_point_exists() -> None:
    """``[project.scripts]`` names it; a rename would break the command."""
    assert callable(main_module.main)


def test_json_figures_that_are_no_number_become_null() -> None:
    """NaN is not JSON; a reader must get null."""
    from engine.app.verbs.options import to_json

    assert json.loads(to_json({"a": float("nan"), "b": 1.5, "c": None})) == {"a": None, "b": 1.5, "c": None}
