"""Write ``docs/figures.md``: every figure of the systems Astra runs, as stated and as Astra computes it.

    python -m examples.figures            # computes all of it, in some seconds, and writes the page
    python -m examples.figures --check    # compares instead; ends with 1 if the page is out of date

What was stated is in ``stated``. No figure of Astra's is written down anywhere: the modules beside this one
ask its functions, its files in ``examples`` and its replays. The extra ``convertible`` is needed.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from examples.figures.page import Section, Value, read_section, render

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "figures.md"

TITLE = "Figures: what was stated, and what Astra gives"
PREFACE = """
Astra runs four systems that others have described with figures: the ASTRA deck, a Treasury scenario, a
tutorial on convex trade-offs, and an article on arbitrage. Here their figures stand beside Astra's, with the
reason where the two differ. *ok* means equal to the digits that are stated, or within the tolerance that the
table's file gives. *Not stated* are figures that a description leaves out, and that it would need or a reader
would ask for.

All that stands under *Astra* is computed when this page is made, by `make figures`, from the functions, files
and replays named above each table; a test makes the page again and compares. What was stated, and why figures
differ, stands in `examples/figures/stated`.
"""


def collected() -> dict[str, tuple[Section, dict[str, Value]]]:
    """Read what was stated and compute what Astra gives, by system."""
    from examples.figures import arbitrage, deck, trade_offs, treasury

    modules = {"deck": deck, "treasury": treasury, "trade_offs": trade_offs, "arbitrage": arbitrage}
    return {
        name: (read_section(HERE / "stated" / f"{name}.toml"), module.computed())
        for name, module in modules.items()
    }


def page(sections: Mapping[str, tuple[Section, Mapping[str, Value]]]) -> str:
    """Return the page of these systems."""
    return render(TITLE, PREFACE, sections)


def main(argv: list[str]) -> int:
    """Write the page, or compare it; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples.figures", description="Make docs/figures.md.")
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    given = parser.parse_args(argv)
    text = page(collected())
    if not given.check:
        PAGE.write_text(text, encoding="utf-8")
        print("wrote docs/figures.md")
        return 0
    was = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    lines = difflib.unified_diff(
        was.splitlines(), text.splitlines(), "docs/figures.md", "computed", lineterm="", n=0
    )
    for line in lines:
        print(line)
    return 0 if was == text else 1


if __name__ == "__main__":
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    sys.exit(main(sys.argv[1:]))
