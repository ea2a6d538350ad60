"""Where each value of a configuration comes from: the file, ``--set``, or the default."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.app.config import toml_text
from engine.app.config.load import Config
from engine.app.config.resolved import document_of
from engine.app.config.toml_text import Path_


def values_of(config: Config) -> Iterator[tuple[Path_, Any]]:
    """Yield every resolved value with its path, in the order of ``resolved_toml``."""
    for name, table in document_of(config).items():
        tables = enumerate(table) if isinstance(table, list) else [(None, table)]
        for index, one in tables:
            base: Path_ = (name,) if index is None else (name, index)
            for key, value in one.items():
                if value is not None:
                    yield (*base, key), value


def count_given(config: Config) -> tuple[int, int]:
    """Count the values there are, and those that somebody wrote."""
    origins = [config.source.origin(path) for path, _ in values_of(config)]
    return len(origins), sum(origin != "default" for origin in origins)


def annotated_toml(config: Config) -> str:
    """Write the resolved configuration with the origin of each value behind it."""
    lines: list[str] = []
    table: Path_ = ()
    rows = [
        (path, f"{toml_text.key_text(str(path[-1]))} = {toml_text.write_value(value)}")
        for path, value in values_of(config)
    ]
    width = min(60, max(len(text) for _, text in rows))
    for path, text in rows:
        if path[:-1] != table:
            table = path[:-1]
            header = f"[[{table[0]}]]" if len(table) == 2 else f"[{table[0]}]"
            lines += ["", header] if lines else [header]
        lines.append(f"{text:<{width}}  # {config.source.origin(path)}")
    return "\n".join(lines) + "\n"
