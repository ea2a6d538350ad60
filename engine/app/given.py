"""What a person gave on the command line: files read as JSON, and what is wrong with them said."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.errors import AstraError, ConfigError, Errors


def read_json(path: Path) -> Any:
    """Read a JSON document, or say on which line it is none.

    Raises
    ------
    ConfigError
        C013; also for a key that stands twice in one object, of which one value would be lost.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors may mark UTF-8 at its beginning
        return json.loads(text, object_pairs_hook=_each_key_once)
    except _RepeatedKeyError as error:
        hint = "JSON readers take the last one, so that a position or a limit would vanish. Keep one of them."
        raise bad_argument(f'{path} has the key "{error}" twice in one object', str(path), hint) from None
    except (FileNotFoundError, NotADirectoryError):
        raise bad_argument(f"there is no file {path}", str(path)) from None
    except IsADirectoryError:
        raise bad_argument(f"{path} is a folder; a JSON file is wanted", str(path)) from None
    except RecursionError:
        raise bad_argument(f"{path} is nested too deeply", str(path)) from None
    except json.JSONDecodeError as error:
        if path.suffix == ".toml":
            raise bad_argument(f"{path} is a configuration; a JSON file is wanted", str(path)) from None
        raise bad_argument(f"{path} is not valid JSON: {error.msg}", f"{path}:{error.lineno}") from None
    except UnicodeDecodeError:
        raise bad_argument(f"{path} is not UTF-8 text", str(path)) from None
    except ValueError as error:  # a number of thousands of digits
        raise bad_argument(f"{path} cannot be read: {error}", str(path)) from None


class _RepeatedKeyError(Exception):
    """A key that stands twice in one JSON object."""


def _each_key_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _RepeatedKeyError(next(key for key in keys if keys.count(key) > 1))
    return found


@contextmanager
def in_file(path: Path) -> Iterator[None]:
    """Give errors that name a key of a file its path as well; those of an option, or other data, stay."""
    try:
        yield
    except AstraError as error:
        faults = error.errors if isinstance(error, Errors) else [error]
        for one in faults:
            if isinstance(one, ConfigError) and not one.where.startswith(("--", str(path))):
                one.where = f"{path}   {one.where}".rstrip()
        error.where = faults[0].where
        raise


def no_configuration(path: Path) -> ConfigError:
    """Make the error for ``--set`` beside a file that has no keys to set."""
    return bad_argument(f"--set changes a configuration, and {path} is none", "--set", "Change the file.")


def bad_argument(what: str, where: str, detail: str = "") -> ConfigError:
    """Make the error for an argument that cannot be used (C013)."""
    return ConfigError("C013", what, where, detail)
