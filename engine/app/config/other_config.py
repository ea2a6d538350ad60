"""Which keys make a configuration another one than that a journal was written under."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from engine.app.config.load import PATH_KEYS, Config, load
from engine.app.config.resolved import document_of
from engine.app.config.tables import DAEMON
from engine.errors import AstraError, JournalError

_SHOWN: Final = 8
_VALUE_WIDTH: Final = 60


def explained(error: JournalError, root: Path, config: Config) -> JournalError:
    """Add to a ``J011`` which keys differ; any other error stays as it is.

    Parameters
    ----------
    error : JournalError
    root : Path
        State or run folder of the journal: its ``config.toml`` is what it was written under.
    config : Config
        The one that was refused.
    """
    if error.code != "J011":
        return error
    detail = "\n".join([*_differences(root / "config.toml", config), error.detail])
    return JournalError(error.code, error.what, error.where or str(root), detail)


def _differences(kept: Path, config: Config) -> list[str]:
    """Name the keys that differ, with both values; a folder without the text knows only that some do."""
    try:
        then = load(kept)
    except (AstraError, OSError):
        return [f"Which keys differ is not known: {kept} cannot be read."]
    differing = list(differences(then, config))
    if not differing:
        return ["No key differs, so a file does: the bars, [risk] history, or one that a strategy names."]
    more = len(differing) - _SHOWN
    return differing[:_SHOWN] + ([f"and {more} more"] if more > 0 else [])


def differences(then: Config, now: Config) -> Iterator[str]:
    """Yield what decides a result and is not the same in two configurations, one line a key.

    As in ``config_hash``, where files lie does not count, nor do ``[output]`` and the daemon's tables but for
    the clock.
    """
    was, is_ = dict(_keys(then)), dict(_keys(now))
    for key in dict.fromkeys([*was, *is_]):
        if was.get(key) != is_.get(key):
            yield f"{key} was {_written(was.get(key))}, is {_written(is_.get(key))}"


def _keys(config: Config) -> Iterator[tuple[str, Any]]:
    document = document_of(config)
    for name in ("output", *DAEMON):
        document.pop(name, None)
    document["daemon"] = {"clock": config.daemon.clock}
    yield from _flat("", document)


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the values of nested tables under the names that ``--set`` takes."""
    if isinstance(value, dict):
        tables = value.items()
    elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        tables = {str(k): one for k, one in enumerate(value)}.items()
    else:
        is_path = prefix.rpartition(".")[2] in PATH_KEYS and isinstance(value, str)
        yield prefix, Path(value).name if is_path else value
        return
    for key, one in tables:
        yield from _flat(f"{prefix}.{key}" if prefix else key, one)


def _written(value: Any) -> str:
    text = "absent" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _VALUE_WIDTH else f"{text[: _VALUE_WIDTH - 3]}..."
