"""Which version this is."""

from __future__ import annotations


def installed_version() -> str:
    """Return the version of the installed distribution."""
    from importlib.metadata import version

    return version("astra-quant")
