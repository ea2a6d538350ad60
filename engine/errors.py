"""One small hierarchy of errors, each with a code and an exit status.

An error message says what was wrong, where, why it matters and what to do. Codes are stable: ``C`` for
configuration, ``D`` for data, ``S`` for services, ``J`` for the journal, ``O`` for operator commands.
"""

from __future__ import annotations


class AstraError(Exception):
    """A failure that a user can act on; printed without a traceback.

    Parameters
    ----------
    code : str
        Stable code, for example ``"C001"``.
    what : str
        One line that says what was wrong, with the offending value.
    where : str
        Place of the fault: ``file:line``, a key, or empty.
    detail : str
        Further lines: the source line with a caret, why it matters, and what to do.
    """

    exit_code = 1

    def __init__(self, code: str, what: str, where: str = "", detail: str = "") -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.where = where
        self.detail = detail


class ConfigError(AstraError):
    """A configuration or usage fault (exit status 2)."""

    exit_code = 2


class DataError(AstraError):
    """Input bars that cannot be used (exit status 3)."""

    exit_code = 3


class ServiceError(AstraError):
    """A server or disk the engine needs is not usable (exit status 5)."""

    exit_code = 5


class JournalError(AstraError):
    """A journal that is damaged or does not belong to this run (exit status 3)."""

    exit_code = 3


class CommandError(AstraError):
    """An operator command that was refused (exit status 2)."""

    exit_code = 2


class Errors(AstraError):  # noqa: N818 - it is several of them
    """Several faults reported at once, in the order of their places.

    Parameters
    ----------
    errors : list of AstraError
        At least one; the exit status is that of the first.
    """

    def __init__(self, errors: list[AstraError]) -> None:
        first = errors[0]
        super().__init__(first.code, first.what, first.where, first.detail)
        self.errors = errors
        self.exit_code = first.exit_code


class InvariantError(Exception):
    """A broken invariant of the engine: a defect, never the user's fault."""
