"""The no-trade buffer: hold what lies in a band around its target; trade from outside to the edge only.

Under proportional costs the best policy of a single asset is a region without trade, and from outside a trade
to its edge (Davis and Norman, 1990). The band here is a rule of thumb for that region: ``target -+ width
|target|``. A target of zero has no band, so an exit is whole.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engine.events import FloatArray

_HALVINGS = 40


def to_edge(held: FloatArray, target: FloatArray, buffer_frac: float) -> FloatArray:
    """Return the point of each band that is nearest to what is held.

    Parameters
    ----------
    held, target : FloatArray, shape (n,)
    buffer_frac : float
        Half-width of the band as a fraction of |target|.

    Examples
    --------
    >>> to_edge(np.array([0.0, 0.45, 0.7, 0.2]), np.array([0.5, 0.5, 0.5, 0.0]), 0.2).tolist()
    [0.4, 0.45, 0.6, 0.0]
    """
    width = buffer_frac * np.abs(target)
    edge: FloatArray = np.clip(held, target - width, target + width)
    return edge


def nearest_allowed(
    edge: FloatArray, target: FloatArray, is_allowed: Callable[[FloatArray], bool]
) -> FloatArray:
    """Go from the edge towards the target, no further than until all constraints hold.

    Each name within its band, a book of them can still break a cap that the target obeys. The constraints are
    convex, so those of the points between that are allowed are the ones next to the target.

    Parameters
    ----------
    edge, target : FloatArray, shape (n,)
        The target is allowed.
    is_allowed : callable
    """
    if is_allowed(edge):
        return edge
    near, far = 1.0, 0.0  # share of the way to the target: allowed, and not
    for _ in range(_HALVINGS):
        middle = 0.5 * (near + far)
        if is_allowed(edge + middle * (target - edge)):
            near = middle
        else:
            far = middle
    found: FloatArray = edge + near * (target - edge)
    return found
