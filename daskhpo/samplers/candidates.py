"""Where a surrogate looks: points all over the space, and points near the best ones."""

from __future__ import annotations

from collections.abc import Container

import numpy as np

from daskhpo.samplers.features import Array, Features

__all__ = ["first_free", "neighbours", "scattered", "unique"]


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


def scattered(features: Features, many: int, rng: np.random.Generator) -> Array:
    """Draw points evenly over what is not forbidden, of shape (many, d)."""
    points = rng.random((many, features.space.dimension))
    for index in np.flatnonzero(features.forbidden(points)):
        points[index] = features.space.evade(rng.random(features.space.dimension))
    return points


def unique(features: Features, units: Array, taken: Container[bytes]) -> Array:
    """Keep the first of the points that decode to the same configuration.

    Parameters
    ----------
    features : Features
        Of the space.
    units : array of shape (m, d)
        Points of the unit cube.
    taken : container of keys
        Configurations that are to be left out, as are forbidden ones.
    """
    units = units[~features.forbidden(units)]
    keys = features.keys(units)
    first = {key: index for index, key in reversed(list(enumerate(keys))) if key not in taken}
    return units[sorted(first.values())]


def first_free(
    features: Features, points: Array, taken: Container[bytes], rng: np.random.Generator
) -> Array:
    """Return the first of the points that is not taken, or else any that is not.

    Parameters
    ----------
    features : Features
        Of a space that is not used up.
    points : array of shape (m, d)
        The points that are wanted, the first one most.
    taken : container of keys
        Configurations that are to be left out.
    rng : numpy.random.Generator
        Draws others.

    Returns
    -------
    array of shape (d,)
    """
    free = unique(features, points, taken)
    if not len(free):
        free = unique(features, scattered(features, 64, rng), taken)
    if len(free):
        return np.asarray(free[0])
    # The space is finite and nearly exhausted: among its first taken + 1 points one is free.
    for params in features.space.grid():
        unit = features.space.encode(params)
        if features.keys(unit[None])[0] not in taken:
            return unit
    return features.space.evade(rng.random(features.space.dimension))
