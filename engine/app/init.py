"""``astra init``: a folder that replays at once, without server, account or network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from engine.errors import ConfigError
from engine.vocabulary import counted

CONFIG_NAME = "astra.toml"
SAMPLE_NAME = "data/sample.csv.gz"

TEMPLATE = """\
# Astra replays and streams 1-minute bars on paper. Every key left out has a default:
#   astra config show --origin     shows them all, and who set each
#   astra check                    checks this file and the data

[feed]
path = "data/sample.csv.gz"     # SYNTHETIC bars. CSV or Parquet, one row per symbol and minute, with
                                # ts (END of the minute), symbol, open, high, low, close, volume
# tz = "America/New_York"       # only for data whose times name no zone

[universe]
calendar = "XNYS"               # exchange calendar; "24/7" around the clock

[book]
equity_usd = 1_000_000

[[strategy]]                    # one table per strategy; "LONG JPM/C" is long JPM, short C
kind = "kalman_pairs"
pairs = ["JPM/C", "GS/MS", "KO/PEP"]
entry_z = 2.0
exit_z = 0.5

[allocator]                     # from signals to holdings; kind = "none" measures signals only
kind = "mean_variance"
every_min = 30

[risk]
var_limit_usd = 150_000         # a positive loss: trading halts when VaR reaches it
confidence = 0.99
horizon_days = 10
seed = 7

[output]
trace = false                   # true also writes every slice of every spread

# Only astra run reads what follows; a table that is absent is off. docs/getting-live.md has the way there.
# [daemon]
# state_dir = "state"           # journal and snapshots: one engine each
# [redis]
# url = "redis://127.0.0.1:6379"        # alerts and events; its password is ASTRA_REDIS_PASSWORD
# [mqtt]
# host = "127.0.0.1"                    # the same, and bars with [feed] kind = "mqtt"
# [alerts]
# required = true               # refuse to start, and halt, when nobody would hear of an alert
# [console]
# port = 8787                   # health, figures and status, on loopback
"""


class Created(msgspec.Struct, frozen=True):
    """A file that was written, and what is in it."""

    path: Path
    text: str


def scaffold(folder: Path) -> Iterator[Created]:
    """Create a folder with a configuration and synthetic bars.

    Parameters
    ----------
    folder : Path
        Created if need be; nothing in it is overwritten.

    Yields
    ------
    Created
        Each file, when it has been written.

    Raises
    ------
    ConfigError
        C012 if one of the files exists, or a file stands where a folder should be.
    """
    place = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    if not place.is_dir():
        hint = "Choose another folder:  astra init OTHER"
        raise ConfigError("C012", f"{place} is no folder and is kept", str(folder), hint)
    config, sample = folder / CONFIG_NAME, folder / SAMPLE_NAME
    for path in (config, sample):
        if path.exists():
            raise ConfigError(
                "C012", f"{path} exists and is kept", str(path), "Choose another folder:  astra init OTHER"
            )
    from feeds.simulated import SimulatedOptions, write

    sample.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(TEMPLATE, encoding="utf-8")
    yield Created(config, "paper, limit $150,000, pairs JPM/C, GS/MS and KO/PEP")
    options = SimulatedOptions.model_validate({})
    n_bars = write(options, sample)
    text = f"{counted(options.sessions, 'session')} of SYNTHETIC 1-minute bars ({n_bars:,} rows)"
    yield Created(sample, text)
