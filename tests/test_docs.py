"""Documentation that runs: every command a reader could type is typed here first.

Convention: commands stand in fenced ``console`` blocks, on lines that begin with ``$ ``; lines that begin
with ``> `` continue the command above, all others show output. The blocks of a document run in order,
as one visit: files and the working directory carry over. A block that says ``file=NAME`` is the whole of
that file, to be pasted as it stands; it is written where the visit has got to. The info string may say
``exit=2`` for a block whose last command ends with that status, or ``skip="why"`` for one too long, or too
destructive, to run here.
"""

from __future__ import annotations

import doctest
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.source import ROOT, dotted, modules, place, tracked
from tests.support.waiting import until

DOCUMENTS = tuple(path for path in tracked() if path.suffix == ".md" and "tests" not in path.parts)
#: What a reader who stands in the repository would find there, without its packages.
BESIDE = ("Makefile", "config", "examples")
SECONDS_MAX = 240

_FENCE = re.compile(r"^(?P<ticks>`{3,})(?P<language>\w*)(?P<options>.*)$")
_OPTIONS = re.compile(r"""(?P<key>[a-z]+)=(?:"(?P<text>[^"]*)"|(?P<word>\S+))""")


class Block(NamedTuple):
    """A fenced block of a document."""

    path: Path
    line: int
    language: str
    options: dict[str, str]
    body: tuple[str, ...]

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands alone, each with its continuation lines."""
        found: list[str] = []
        for line in self.body:
            if line.startswith("$ "):
                found.append(line[2:])
            elif line.startswith("> ") and found:
                found[-1] += "\n" + line[2:]
        return tuple(found)


def blocks(path: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a document in order."""
    lines = path.read_text(encoding="utf-8").splitlines()
    opened: tuple[int, re.Match[str]] | None = None
    for number, line in enumerate(lines, start=1):
        fence = _FENCE.match(line)
        if opened is None and fence:
            opened = number, fence
        elif opened and line == opened[1]["ticks"]:
            start, first = opened
            options = {
                m["key"]: m["text"] if m["word"] is None else m["word"]
                for m in _OPTIONS.finditer(first["options"])
            }
            yield Block(path, start, first["language"], options, tuple(lines[start : number - 1]))
            opened = None


def consoles(path: Path) -> list[Block]:
    """List the blocks of a document whose commands are to be typed."""
    return [block for block in blocks(path) if block.language == "console"]


def steps(path: Path) -> list[Block]:
    """List what a reader of a document does in order: types commands, and writes files."""
    return [block for block in blocks(path) if block.language == "console" or "file" in block.options]


def _scratch(folder: Path) -> dict[str, str]:
    """Fill a folder as a reader would find the repository, and return the environment to run in."""
    for name in BESIDE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, folder / name)
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ASTRA_", "PYTEST_", "MAKE"))
    }
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return kept | {"PATH": path, "HOME": str(folder), "NO_COLOR": "1", "TERM": "dumb"}


@contextmanager
def visit() -> Iterator[int]:
    """Yield a process group for the blocks of a document; whatever they left running ends with it."""
    with subprocess.Popen(["sleep", "infinity"], process_group=0) as keeper:
        try:
            yield keeper.pid
        finally:
            os.killpg(keeper.pid, signal.SIGKILL)


def run(block: Block, folder: Path, environment: dict[str, str], group: int) -> Path:
    """Type the commands of a block into a shell of a process group, or write its file; return the folder.

    Raises
    ------
    AssertionError
        If it ends with another status than the block says, with all that was printed.
    """
    ends_in = folder / ".ends-in"
    script = "\n".join(["trap 'pwd > \"$ENDS_IN\"' EXIT", "set -euo pipefail", *block.commands])
    start = Path(ends_in.read_text().strip()) if ends_in.exists() else folder
    if "file" in block.options:
        (start / block.options["file"]).write_text("\n".join([*block.body, ""]), encoding="utf-8")
        return start
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=start,
        env=environment | {"ENDS_IN": str(ends_in)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
        process_group=group,
    )
    expected = int(block.options.get("exit", "0"))
    assert done.returncode == expected, (
        f"{block.path.name}:{block.line} ended with {done.returncode}, not {expected}\n"
        + "\n".join(block.commands)
        + f"\n{done.stdout}{done.stderr}"
    )
    return Path(ends_in.read_text().strip())


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", [path for path in DOCUMENTS if consoles(path)], ids=place)
def test_commands_of_the_documents_run(path: Path, tmp_path: Path) -> None:
    """The first command a newcomer copies must work; nothing costs more trust than one that does not."""
    environment = _scratch(tmp_path)
    with visit() as group:
        for block in steps(path):
            if "skip" not in block.options:
                run(block, tmp_path, environment, group)


def test_no_command_escapes() -> None:
    """A shell block in another language, or an option nobody reads, would never be run."""
    shells = {"sh", "bash", "shell", "zsh", "shellsession"}
    typed = ("$ ", "make ", "astra ", "python ", "pip ", "docker ", "git ")
    everything = [block for path in DOCUMENTS for block in blocks(path)]
    strays = [
        place(block.path, block.line)
        for block in everything
        if block.language in shells
        or (block.language in {"", "text"} and any(line.startswith(typed) for line in block.body))
    ]
    empty = [place(b.path, b.line) for b in everything if b.language == "console" and not b.commands]
    unknown = [
        place(block.path, block.line)
        for block in everything
        if block.options.keys() - {"exit", "skip", "file"}
    ]
    assert strays + empty + unknown == []


def test_skipped_commands_say_why_and_exist() -> None:
    """Only what is too long or destructive is skipped, and even then its make targets must be real."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for block in (block for path in DOCUMENTS for block in consoles(path) if "skip" in block.options):
        where = place(block.path, block.line)
        assert len(block.options["skip"].split()) > 1, f"{where}: skip needs a reason"
        for command in block.commands:
            name, _, target = command.partition(" ")
            assert name != "make" or target.split()[0] in targets, f"{where}: no such target: {command}"


def test_links_lead_somewhere() -> None:
    """A link to a moved file is the usual way a document starts to lie."""
    broken = [
        f"{place(path)} -> {target}"
        for path in DOCUMENTS
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8"))
        if "://" not in target and not (path.parent / target).exists()
    ]
    assert broken == []


@pytest.mark.parametrize(
    "path", [path for path in modules() if ">>>" in path.read_text(encoding="utf-8")], ids=dotted
)
def test_examples_in_docstrings_run(path: Path) -> None:
    """An example in a docstring is the first thing copied out of it."""
    failed, tried = doctest.testmod(importlib.import_module(dotted(path)))
    assert tried
    assert failed == 0


def test_blocks_run_as_one_visit(tmp_path: Path) -> None:
    """The runner itself: order, folders, continuation lines and expected failures."""
    document = tmp_path / "visit.md"
    document.write_text(
        "```console\n$ mkdir there && cd there\nsome output\n$ cat > note <<X\n> two words\n> X\n```\n"
        "text\n```toml file=keys.toml\nkey = 1\n```\n"
        "```toml\nkey = 2\n```\n"
        "```console exit=3\n$ grep -q 'two words' note\n$ grep -qx 'key = 1' keys.toml\n$ exit 3\n```\n"
    )
    first, file, second = steps(document)
    environment = _scratch(tmp_path)
    with visit() as group:
        assert run(first, tmp_path, environment, group) == tmp_path / "there"
        assert run(file, tmp_path, environment, group) == tmp_path / "there"
        assert (second.line, second.options) == (15, {"exit": "3"})
        run(second, tmp_path, environment, group)
        with pytest.raises(AssertionError, match=r"visit\.md:15 ended with 3, not 0"):
            run(second._replace(options={}), tmp_path, environment, group)


async def test_what_a_visit_left_running_ends_with_it(tmp_path: Path) -> None:
    """An engine that a failed block leaves behind would disturb every test after it, and the machine."""
    document = tmp_path / "visit.md"
    document.write_text("```console\n$ sleep infinity > /dev/null 2>&1 &\n$ echo $! > pid\n```\n")
    with visit() as group:
        run(consoles(document)[0], tmp_path, _scratch(tmp_path), group)
        pid = int((tmp_path / "pid").read_text())
        assert _is_running(pid)
    await until(lambda: not _is_running(pid))


def _is_running(pid: int) -> bool:
    """Tell whether a process is there; one that nobody has waited for yet is not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
