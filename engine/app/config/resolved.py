"""A checked configuration as text and as hash: what a run folder keeps, and a journal must agree with."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from engine.app.config import toml_text
from engine.app.config.load import PATH_KEYS, Config
from engine.app.config.tables import DAEMON, Table

_MASK = "***"


def document_of(config: Config, *, with_defaults: bool = True) -> dict[str, Any]:
    """Return every table with every value as plain values, secrets masked."""
    document: dict[str, Any] = {}
    for name in Config.model_fields:
        table = getattr(config, name)
        if isinstance(table, tuple):
            document[name] = [_flat(one, with_defaults) for one in table]
        elif isinstance(table, dict):
            document |= (
                {name: {key: _flat(one, with_defaults) for key, one in table.items()}} if table else {}
            )
        elif table is not None:
            document[name] = _flat(table, with_defaults)
    if config.redis is not None:
        document["redis"]["url"] = _masked(config.redis.url)
    return document


def _flat(table: Table, with_defaults: bool) -> dict[str, Any]:
    def plain(model: BaseModel, **but: Any) -> dict[str, Any]:
        return model.model_dump(mode="json", exclude_defaults=not with_defaults, **but)

    options = getattr(table, "options", None)
    return plain(table, exclude={"options"}) | (plain(options) if options is not None else {})


def _masked(url: str) -> str:
    url = re.sub(r"(?i)([?&]password=)[^&#]*", rf"\1{_MASK}", url)
    scheme, separator, rest = url.partition("://")
    if "@" not in rest:
        return url
    credentials, _, host = rest.rpartition("@")
    user = credentials.partition(":")[0] if ":" in credentials else ""
    return f"{scheme}{separator}{user}:{_MASK}@{host}"


def resolved_toml(config: Config) -> str:
    """Write the resolved configuration: replaying it repeats the run bit for bit; secrets are masked."""
    return toml_text.write(document_of(config))


def config_hash(config: Config) -> str:
    """Return the SHA-256 of what decides the result.

    Where files lie does not (data have a fingerprint of their own), nor do ``[output]`` and the daemon's
    tables. Defaults are left out: a later version with a new key continues the same journal, and the version
    itself is checked beside the hash.
    """
    document = document_of(config, with_defaults=False)
    for name in ("output", *DAEMON):
        document.pop(name, None)
    for table in (document["feed"], document["risk"], *document["strategy"]):
        for key in PATH_KEYS:
            if table.get(key):
                table[key] = Path(table[key]).name
    return hashlib.sha256(toml_text.write(document).encode()).hexdigest()
