"""``data synth | check | import``: make, judge and convert files of bars."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Make, check and import files of bars.")
