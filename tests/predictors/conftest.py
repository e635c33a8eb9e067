"""Published learning curves, and splits of them, for tests of predictors."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest

SHARED = Path(os.environ.get("DASKHPO_SHARED", Path(__file__).parents[2] / ".." / "shared"))
FILES = {  # {set: (file, start of the curve's columns, whether larger values are better)}
    "mlpf": ("mlpf_delphes.csv", "loss_", False),
    "ptb": ("lstm_ptb.csv", "ep_", False),
    "cifar10": ("metaqnn_cifar10.csv", "acc_", True),
    "mnist": ("mnist_cnn_4hp.csv", "loss_", False),
}


def _read(name):
    file, start, larger = FILES[name]
    path = SHARED / "curves" / file
    if not path.exists():
        pytest.skip(f"{path} is missing (set DASKHPO_SHARED)")
    with open(path, newline="") as table:
        rows = [
            [float(v) for k, v in row.items() if k.startswith(start)]
            for row in csv.DictReader(table)
        ]
    curves = np.array(rows)
    return 1 - curves if larger else curves


@pytest.fixture(scope="session")
def published():
    """Whole curves (n, R) of a published set, by name, minimised."""
    cache = {}

    def of(name):
        if name not in cache:
            cache[name] = _read(name)
        return cache[name]

    return of


@pytest.fixture(scope="session")
def splits():
    """Random splits: known curves and targets, other curves and targets."""

    def of(curves, *, fraction, known=20, count=1):
        steps = max(round(fraction * curves.shape[1]), 1)
        for seed in range(count):
            order = np.random.default_rng(seed).permutation(len(curves))
            ours, others = curves[order[:known]], curves[order[known:]]
            yield ours[:, :steps], ours[:, -1], others[:, :steps], others[:, -1]

    return of


@pytest.fixture
def falling():
    """Made-up curves (n, d), and targets (n,) that go on from them with some noise."""

    def of(n, d=6, seed=0):
        rng = np.random.default_rng(seed)
        floor, height = rng.uniform(1, 2, (n, 1)), rng.uniform(1, 3, (n, 1))
        whole = floor + height * np.exp(-np.arange(2 * d) / 4) + 0.01 * rng.normal(size=(n, 2 * d))
        return whole[:, :d], whole[:, -1]

    return of
