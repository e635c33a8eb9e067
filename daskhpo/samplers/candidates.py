"""Where a surrogate looks: points all over the space, and points near the best ones."""

from __future__ import annotations

from collections.abc import Container

import numpy as np

from daskhpo.samplers.features import Array, Features

__all__ = ["neighbours", "unique"]


def neighbours(
    features: Features, centres: Array, each: int, scale: float, rng: np.random.Generator
) -> Array:
    """Draw points around centres, at distances from ``scale / 30`` to ``scale``.

    Parameters
    ----------
    features : Features
        Of the space, with d dimensions.
    centres : array of shape (c, d)
        Points of the unit cube.
    each : int
        Points for each centre.
    scale : float
        Largest standard deviation of a move; moves of ordered finite domains reach at least the
        next value. Choices are drawn anew.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    array of shape (c * each, d)
        Some coordinates of each point moved, those that left the unit cube put on its face.
    """
    points = np.repeat(centres, each, axis=0)
    shape = points.shape
    widths = scale * np.exp(-rng.uniform(0, np.log(30), (len(points), 1)))
    moves = rng.normal(size=shape) * np.maximum(widths, features.widths)
    moved = rng.random(shape) < rng.uniform(1 / max(shape[1], 1), 1, (len(points), 1))
    drawn = np.where(features.unordered, rng.random(shape), points + moves)
    # A choice drawn anew is a leap: one in four of the moves that it could take part in.
    moved &= ~features.unordered | (rng.random(shape) < 0.25)
    return np.where(moved, drawn, points).clip(0.0, 1.0)


def unique(features: Features, units: Array, taken: Container[bytes]) -> Array:
    """Keep the first of the points that decode to the same configuration, if it is not taken."""
    keys = features.keys(units)
    first = {key: index for index, key in reversed(list(enumerate(keys))) if key not in taken}
    return units[sorted(first.values())]
