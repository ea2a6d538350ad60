"""The only door to Numba.

Every kernel is compiled with the same options, so that the same input gives the same bits everywhere:
no ``fastmath`` (it reorders sums), no parallel reductions, NumPy's rules for division. Kernels are cached on
disk; the cache does not notice a change in another file, so a kernel calls only kernels of its own file
(a test enforces it).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar, cast

import numba

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class Kernel(Protocol[P, R_co]):
    """A compiled function that keeps its Python twin in ``py_func``."""

    py_func: Callable[..., Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the compiled code."""
        ...


#: Every kernel of the process, by ``module.name``; the tests walk it.
KERNELS: dict[str, Kernel[..., Any]] = {}


def kernel(function: Callable[P, R_co]) -> Kernel[P, R_co]:
    """Compile a function of arrays and numbers, and register it.

    Parameters
    ----------
    function : callable
        Arguments are arrays and numbers only. Output arrays are arguments, named in the docstring.

    Returns
    -------
    Kernel
        Compiled on first call (or loaded from the disk cache); the Python twin is ``.py_func``.
    """
    compiled = cast(
        "Kernel[P, R_co]",
        numba.njit(cache=True, fastmath=False, nogil=True, error_model="numpy")(function),
    )
    KERNELS[f"{function.__module__}.{function.__name__}"] = compiled
    return compiled
