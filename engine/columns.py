"""Many bars as columns: what columnar feeds hand to the slicer."""

from __future__ import annotations

import msgspec

from engine.events import Bar, FloatArray, IntArray


class BarColumns(msgspec.Struct, frozen=True):
    """Bars as columns, in arrival order.

    Parameters
    ----------
    ts_close_ns : IntArray, shape (n_rows,)
        Ends of the minutes, ns UTC; -1 where unreadable.
    code : IntArray, shape (n_rows,)
        Index into ``names``.
    names : tuple of str
        Symbols of these rows; may hold more than occur.
    values : FloatArray, shape (5, n_rows)
        Open, high, low, close (USD) and volume (shares); NaN where unreadable.
    """

    ts_close_ns: IntArray
    code: IntArray
    names: tuple[str, ...]
    values: FloatArray

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.ts_close_ns)

    def bar(self, row: int) -> Bar:
        """Return one row."""
        ts_close_ns = int(self.ts_close_ns[row])
        return Bar(ts_close_ns, self.names[self.code[row]], *self.values[:, row].tolist())

    def take(self, rows: IntArray | slice) -> BarColumns:
        """Return some rows, in the order given."""
        return BarColumns(self.ts_close_ns[rows], self.code[rows], self.names, self.values[:, rows])
