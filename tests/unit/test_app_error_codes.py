"""Every code an error can carry is explained, and every explanation belongs to a code."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_CODE = re.compile(r'"([CDSJO]\d{3})"')


def test_every_error_code_has_its_section() -> None:
    """The last line of every error sends the user to docs/errors.md; the section must be there."""
    sources = [
        path
        for package in ("engine", "feeds", "risk", "strategies")
        for path in (ROOT / package).rglob("*.py")
    ]
    used = {code for path in sources for code in _CODE.findall(path.read_text(encoding="utf-8"))}
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    explained = re.findall(r"^### ([A-Z]\d{3})$", text, re.MULTILINE)
    assert used == set(explained)
    assert len(explained) == len(set(explained))
