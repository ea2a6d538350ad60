"""Packages that only some feeds need: asked for when such a feed is built, and never before."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from engine.errors import ConfigError


def needed(module: str, kind: str) -> ModuleType:
    """Import a package of the extra that is named as the kind of feed.

    Raises
    ------
    ConfigError
        D040 if it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(
            "D040",
            f'feed.kind = "{kind}" needs the package "{module}", which is not installed',
            "feed.kind",
            f'It is an extra, so that nobody else has to install it:\n    pip install "astra-quant[{kind}]"',
        ) from error
