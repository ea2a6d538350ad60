"""From a covariance to a factor L with L L' = Σ, or a reason why none can be trusted.

Σ is tested for being positive semi-definite *before* it is shrunk: shrinking would hide a broken matrix, and
a repaired matrix can switch the whole measurement off (a book with negative raw variance "has" a VaR of 0).
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from engine.events import BoolArray, FloatArray
from engine.kernel import kernel
from engine.oversight import Market

NOT_PSD: Final = "COV_NOT_PSD"
NOT_FINITE: Final = "COV_NOT_FINITE"
#: A matrix is taken for PSD if its smallest eigenvalue is at least this share of its largest.
PSD_TOLERANCE: Final = -1e-10


class Covariance(msgspec.Struct, frozen=True):
    """A covariance as it is used, and the market that carries its factor.

    Parameters
    ----------
    daily : FloatArray, shape (n, n)
        Shrunk over the known symbols; zero rows and columns elsewhere, and everywhere if not trusted.
    market : Market
    """

    daily: FloatArray
    market: Market


@kernel
def cholesky(matrix: FloatArray, upper: FloatArray) -> bool:
    """Factor ``matrix`` = U'U in a fixed order of operations (LAPACK's depends on its threads).

    Parameters
    ----------
    matrix : FloatArray, shape (n, n)
        Symmetric; only its upper triangle is read.
    upper : FloatArray, shape (n, n)
        Receives U; zero below the diagonal.

    Returns
    -------
    bool
        False if a pivot was not positive (or NaN); ``upper`` is then unusable.
    """
    n = matrix.shape[0]
    for i in range(n):
        for j in range(i):
            upper[i, j] = 0.0
        for j in range(i, n):
            upper[i, j] = matrix[i, j]
    for first in range(0, n, 4):
        stop = min(first + 4, n)
        for k in range(first, stop):
            row = upper[k, k:]
            for p in range(first, k):
                scale = upper[p, k]
                source = upper[p, k:]
                for j in range(row.size):
                    row[j] -= scale * source[j]
            pivot = row[0]
            if not (pivot > 0.0 and pivot < np.inf):
                return False
            root = np.sqrt(pivot)
            for j in range(row.size):
                row[j] /= root
        # Four rows at once: what is left of the matrix is read and written a quarter as often.
        for i in range(stop, n):
            s0, s1 = upper[first, i], upper[first + 1, i]
            s2, s3 = upper[first + 2, i], upper[first + 3, i]
            r0, r1 = upper[first, i:], upper[first + 1, i:]
            r2, r3 = upper[first + 2, i:], upper[first + 3, i:]
            tail = upper[i, i:]
            for j in range(tail.size):
                tail[j] -= (s0 * r0[j] + s1 * r1[j]) + (s2 * r2[j] + s3 * r3[j])
    return True


def is_psd(matrix: FloatArray) -> bool:
    """Whether the smallest eigenvalue is at least -1e-10 times the largest.

    The largest eigenvalue is no less than the largest diagonal element d, so a Cholesky factor of
    Σ + 1e-10 d I proves it without an eigenvalue; only when there is none do the eigenvalues decide.

    Parameters
    ----------
    matrix : FloatArray, shape (n, n)
        Symmetric and finite.
    """
    largest = float(matrix.diagonal().max(initial=0.0))
    lifted = matrix.copy()
    lifted[np.diag_indices_from(lifted)] -= PSD_TOLERANCE * largest
    if cholesky(lifted, np.empty_like(lifted)):
        return True
    eigenvalues = np.linalg.eigvalsh(matrix)
    return bool(eigenvalues[0] >= PSD_TOLERANCE * max(float(eigenvalues[-1]), 0.0))


def factor(matrix: FloatArray) -> FloatArray:
    """Return L with L L' = ``matrix``: lower Cholesky, or the symmetric root of a singular matrix.

    The root V √Λ₊ V' is unique. Bare eigenvectors are not: they flip from bar to bar, which would undo the
    common random numbers of the Monte Carlo.

    Parameters
    ----------
    matrix : FloatArray, shape (n, n)
        Symmetric, positive semi-definite.
    """
    upper = np.empty_like(matrix)
    if cholesky(matrix, upper):
        return np.ascontiguousarray(upper.T)
    eigenvalues, vectors = np.linalg.eigh(matrix)
    return np.ascontiguousarray((vectors * np.sqrt(np.maximum(eigenvalues, 0.0))) @ vectors.T)


def shrink(matrix: FloatArray, shrink_frac: float) -> FloatArray:
    """Return (1 − δ) Σ + δ (tr Σ / n) I."""
    n = len(matrix)
    shrunk = (1.0 - shrink_frac) * matrix
    shrunk[np.diag_indices(n)] += shrink_frac * float(np.trace(matrix)) / max(n, 1)
    return shrunk


def market_of(daily: FloatArray, known: BoolArray, shrink_frac: float) -> Covariance:
    """Test, shrink and factor a covariance over the known symbols.

    Parameters
    ----------
    daily : FloatArray, shape (n, n)
        Symmetric covariance of daily returns; rows and columns of unknown symbols are ignored.
    known : BoolArray, shape (n,)
    shrink_frac : float
        δ; 0 takes the matrix as it is.

    Returns
    -------
    Covariance
        With ``market.reason`` set, and no symbol known, if the matrix is not finite or not PSD.
    """
    n = len(daily)
    inside = np.ix_(known, known)
    part = daily[inside]
    reason = ""
    if not np.isfinite(part).all():
        reason = NOT_FINITE
    elif not is_psd(part):
        reason = NOT_PSD
    if reason:
        nothing = np.zeros((n, n))
        return Covariance(nothing, Market(nothing, np.zeros(n, dtype=np.bool_), reason))
    part = shrink(part, shrink_frac) if shrink_frac > 0.0 else part
    if part.shape == daily.shape:
        return Covariance(part, Market(factor(part), known.copy()))
    used, lower = np.zeros((n, n)), np.zeros((n, n))
    used[inside] = part
    lower[inside] = factor(part)
    return Covariance(used, Market(lower, known.copy()))
