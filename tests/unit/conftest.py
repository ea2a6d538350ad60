"""Fixtures of the unit tests."""

from tests.support.app import kinds

__all__ = ["kinds"]
