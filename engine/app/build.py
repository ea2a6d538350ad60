"""Which build this is: whatever decides the bits of a result."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Final

_DECIDING: Final = ("numpy", "numba", "llvmlite", "scipy", "cvxpy", "clarabel", "msgspec")


def build_text() -> str:
    """Return versions of what computes and the class of CPU: ``astra 0.1.0, ..., cpu znver3``.

    Equal texts mean equal bits: compiled kernels and linear algebra choose their instructions by the CPU.
    """
    import llvmlite.binding  # type: ignore[import-untyped]

    versions = [f"astra {_version('astra-quant')}", f"python {platform.python_version()}"]
    versions += [f"{name} {_version(name)}" for name in _DECIDING]
    return ", ".join([*versions, f"cpu {llvmlite.binding.get_host_cpu_name()}"])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
