"""Where bars come from: one file a source.

``REGISTRY`` maps the ``kind`` of ``[feed]`` to the options it accepts and how it is built from them and a
``FeedContext``. Entry points of the group ``astra.feeds`` add to it.
"""

from __future__ import annotations

from engine.ports import Feed, Plugin
from feeds.context import FeedContext
from feeds.files import FileBars, FileOptions
from feeds.simulated import SimulatedBars, SimulatedOptions

PART_OF = "astra-quant"


def _files(options: FileOptions, context: FeedContext) -> FileBars:
    return FileBars(options, context.symbols, context.calendar, from_ns=context.from_ns, to_ns=context.to_ns)


def _simulated(options: SimulatedOptions, context: FeedContext) -> SimulatedBars:
    return SimulatedBars(
        options, context.symbols, context.calendar, from_ns=context.from_ns, to_ns=context.to_ns
    )


REGISTRY: dict[str, Plugin[Feed]] = {
    "files": Plugin(FileOptions, _files),
    "simulated": Plugin(SimulatedOptions, _simulated),
}
