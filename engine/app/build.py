"""Which build this is: whatever decides the bits of a result."""

from __future__ import annotations

import platform
from functools import cache
from typing import Final

_DECIDING: Final = (
    "numpy",
    "numba",
    "llvmlite",
    "scipy",
    "cvxpy",
    "clarabel",
    "statsmodels",
    "arch",
    "msgspec",
    "exchange-calendars",
)


def build_text() -> str:
    """Return versions of what computes and the class of CPU: ``astra 0.1.0, ..., cpu znver3``.

    Equal texts mean equal bits: compiled kernels and linear algebra choose their instructions by the CPU.
    """
    import llvmlite.binding  # type: ignore[import-untyped]

    versions = [f"astra {installed_version()}", f"python {platform.python_version()}"]
    versions += [f"{name} {version_of(name)}" for name in _DECIDING]
    return ", ".join([*versions, f"cpu {llvmlite.binding.get_host_cpu_name()}"])


def installed_version() -> str:
    """Return the version of Astra."""
    return version_of("astra-quant")


@cache
def version_of(package: str) -> str:
    """Return the version of an installed package; ``absent`` if there is none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
