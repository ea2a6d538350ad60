"""Text for people: errors, tables, and figures with their units."""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import AstraError, Errors

_RED, _BLUE, _OFF = "\x1b[1;31m", "\x1b[34m", "\x1b[0m"


def render_error(error: AstraError, *, is_colour: bool = False) -> str:
    """Render an error, or several at once: what, where, why it matters, what to do.

    Parameters
    ----------
    error : AstraError
        ``Errors`` are rendered one after the other, in their order.
    is_colour : bool
        Use ANSI colours; the text is the same without.

    Returns
    -------
    str
        Ends with a newline; the last line names the section of docs/errors.md to read.

    Examples
    --------
    >>> print(render_error(AstraError("C013", "--at was empty", "--at")), end="")
    error[C013] --at was empty
      --> --at
    see docs/errors.md: C013
    """
    errors = error.errors if isinstance(error, Errors) else [error]
    red, blue, off = (_RED, _BLUE, _OFF) if is_colour else ("", "", "")
    blocks = []
    for one in errors:
        lines = [f"{red}error[{one.code}]{off} {one.what}"]
        if one.where:
            lines.append(f"  {blue}-->{off} {one.where}")
        lines += [f"  {line}".rstrip() for line in one.detail.splitlines()]
        blocks.append("\n".join(lines))
    codes = ", ".join(dict.fromkeys(one.code for one in errors))
    return "\n\n".join(blocks) + f"\nsee docs/errors.md: {codes}\n"


def error_documents(error: AstraError) -> list[dict[str, str]]:
    """Return an error, or several at once, for programs.

    Examples
    --------
    >>> error_documents(AstraError("C013", "--at was empty", "--at"))
    [{'code': 'C013', 'what': '--at was empty', 'where': '--at', 'hint': ''}]
    """
    errors = error.errors if isinstance(error, Errors) else [error]
    return [{"code": one.code, "what": one.what, "where": one.where, "hint": one.detail} for one in errors]


def render_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align text in columns; a column whose cells all look like numbers is aligned to the right.

    Examples
    --------
    >>> print(render_table(["run", "bars"], [["a", "5"], ["long", "1,200"]]), end="")
    run    bars
    a         5
    long  1,200
    """
    columns = list(zip(header, *rows, strict=True))
    widths = [max(len(cell) for cell in column) for column in columns]
    is_right = [bool(rows) and all(_is_number(cell) for cell in column[1:]) for column in columns]
    lines = []
    for row in (header, *rows):
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, is_right, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def _is_number(cell: str) -> bool:
    return cell in {"", "-"} or cell.lstrip("+-$")[:1].isdigit()


def usd(value: float | None, *, is_signed: bool = False) -> str:
    """Write dollars without cents.

    Examples
    --------
    >>> usd(151204.4), usd(-204.0), usd(8412.0, is_signed=True), usd(None)
    ('$151,204', '-$204', '+$8,412', 'unknown')
    """
    if value is None or value != value:  # noqa: PLR0124 - NaN is the one value that differs from itself
        return "unknown"
    sign = "-" if round(value) < 0 else "+" if is_signed else ""
    return f"{sign}${abs(value):,.0f}"


def percent(value: float | None, digits: int = 2, *, is_signed: bool = False) -> str:
    """Write a fraction as a percentage.

    Examples
    --------
    >>> percent(0.0084, is_signed=True), percent(0.81, 0), percent(-1e-6)
    ('+0.84%', '81%', '0.00%')
    """
    if value is None or value != value:  # noqa: PLR0124
        return "unknown"
    return f"{value * 100:{'+' if is_signed else ''}z.{digits}f}%"


def rate(per_s: float) -> str:
    """Write a rate with three figures.

    Examples
    --------
    >>> rate(412.0), rate(41_234.0), rate(3_120_000.0)
    ('412', '41k', '3.1M')
    """
    if per_s >= 1e6:
        return f"{per_s / 1e6:.1f}M"
    return f"{per_s / 1e3:.0f}k" if per_s >= 1e4 else f"{per_s:,.0f}"


def asset(package: str, name: str) -> str:
    """Read a file that is shipped beside the code of a package: a template, a style, a script."""
    from importlib import resources

    return resources.files(package).joinpath(name).read_text(encoding="utf-8").strip()
