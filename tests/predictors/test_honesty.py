"""On published curves the shipped default is never worse than the simplest forecasts are."""

from __future__ import annotations

import numpy as np
import pytest

from daskhpo.predictors import make_predictor

SPLITS = 20


def r2(targets, forecasts):
    return 1 - np.mean((targets - forecasts) ** 2) / np.var(targets)


def scores(name, known):
    return np.array([r2(y, make_predictor(name).fit(*ours).predict(X)) for *ours, X, y in known])


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.75, 0.9])
@pytest.mark.parametrize("name", ["mlpf", "ptb", "cifar10", "mnist"])
def test_the_default_is_not_below_last_value_or_linear(name, fraction, published, splits):
    known = list(splits(published(name), fraction=fraction, count=SPLITS))
    ours = scores("auto", known)
    simple = max(scores("last_value", known).mean(), scores("linear", known).mean())
    assert ours.mean() >= simple - ours.std(ddof=1) / np.sqrt(SPLITS)


@pytest.mark.parametrize("predictor", ["auto", "svr", "nu_svr"])
def test_twenty_curves_of_mlpf_as_they_are_give_what_was_promised(predictor, published, splits):
    known = list(splits(published("mlpf"), fraction=0.25, count=20))
    assert scores(predictor, known).mean() >= 0.85
