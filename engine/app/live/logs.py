"""Logs of the daemon: one line an event on the standard error stream, without secrets.

JSON where a program reads, aligned text where a person does. Every line carries two times: ``ts``, what time
it is in the run (a rehearsal runs elsewhere and faster), and ``written``, what the wall clock said.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from engine.clock import instant, wall_ns
from engine.events import Nanos

MASK: Final = "***"
_SECRET_WORDS: Final = frozenset(
    {"password", "passwd", "passphrase", "key", "keys", "secret", "secrets", "token", "authorization"}
)
#: Shorter ones would mask half of every line.
_SECRET_CHARS_MIN: Final = 4
_USER_INFO: Final = re.compile(r"(?<=://)[^/\s@\"']+(?=@)")
#: What could move a terminal's cursor, or begin a line that nobody wrote.
_CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


def configure(
    stream: TextIO,
    now_ns: Callable[[], Nanos],
    *,
    secrets: Iterable[str] = (),
) -> None:
    """Send the logs of the engine and of its libraries to ``stream``: text on a terminal, JSON otherwise.

    Parameters
    ----------
    stream : TextIO
        Usually the standard error stream; standard output is for results.
    now_ns : callable
        The time of the run, nanoseconds UTC.
    secrets : iterable of str
        Texts that must never appear, wherever they stand; see ``secrets_of``.
    """
    mask = _mask_of(secrets)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _stamp(now_ns),
        _readable_instants,
        lambda _logger, _method, line: {name: _clean(name, value, mask) for name, value in line.items()},
    ]
    # Not the traceback with the values of variables: those are where secrets are.
    plain = structlog.dev.plain_traceback
    render: list[Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=plain)]
        if stream.isatty()
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_to_json)]
    )

    def finish(_logger: WrappedLogger, _method: str, line: Any) -> Any:
        return mask(line)  # once more: tracebacks, and texts of objects

    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render, finish],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


def secrets_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the secrets in the environment: what ``configure`` must mask.

    Those are the values of ``ASTRA_…`` variables with password, key, secret or token in their name, and each
    of the addresses in ``ASTRA_APPRISE_URLS``, whose paths are secrets too; where a name ends in ``_FILE``,
    what is in the file.
    """
    found: list[str] = []
    for name, value in environment.items():
        if not name.startswith(("ASTRA_", "APCA_")):
            continue
        text = _content(value) if name.endswith("_FILE") else value
        if is_secret_name(name):
            found.append(text)
        elif name.removesuffix("_FILE") == "ASTRA_APPRISE_URLS":
            found += re.split(r"[\s,;]+", text)
    return tuple(text for text in found if len(text) >= _SECRET_CHARS_MIN)


def _content(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""  # whoever needs it will say so


def is_secret_name(name: str) -> bool:
    """Tell whether what is called ``name`` must not be shown.

    >>> is_secret_name("ASTRA_HALT_KEY"), is_secret_name("monkey")
    (True, False)
    """
    return not _SECRET_WORDS.isdisjoint(re.split(r"[^a-z]+", name.lower()))


def _stamp(now_ns: Callable[[], Nanos]) -> Processor:
    def stamp(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
        line["ts"], line["written"] = instant(now_ns()), instant(wall_ns())
        return line

    return stamp


def _readable_instants(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Write ``ts_close_ns=…`` as ``ts_close="2026-…"``."""
    for name in [name for name, value in line.items() if name.endswith("_ns") and type(value) is int]:
        line[name.removesuffix("_ns")] = instant(line.pop(name))
    return line


def _clean(name: object, value: object, mask: Callable[[str], str]) -> object:
    """Mask secrets in a value, and show control characters: symbols and commands come from outside."""
    if isinstance(name, str) and is_secret_name(name):
        return MASK
    if isinstance(value, str):
        return mask(value).translate(_CONTROLS)
    if isinstance(value, Mapping):
        return {key: _clean(key, inner, mask) for key, inner in value.items()}
    if isinstance(value, list | tuple) and name != "exc_info":
        return [_clean("", inner, mask) for inner in value]
    return value


def _to_json(line: Any, **_options: Any) -> str:
    # Unlike the standard library's, this encoder writes NaN as null, which every reader understands.
    return msgspec.json.encode(line, enc_hook=str).decode()


def _mask_of(secrets: Iterable[str]) -> Callable[[str], str]:
    """Return what masks known secrets, and the user part of addresses, in a text."""
    # As they are, and as they look inside quotes.
    forms = {form for text in secrets for form in (text, _to_json(text)[1:-1], repr(text)[1:-1])}
    # Longest first: one secret may be a part of another.
    ordered = sorted((form for form in forms if form), key=lambda form: (-len(form), form))
    known = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def mask(text: str) -> str:
        return _USER_INFO.sub(MASK, known.sub(MASK, text) if known is not None else text)

    return mask
