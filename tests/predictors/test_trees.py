"""Ensembles of trees, as references."""

from __future__ import annotations

import numpy as np
import pytest

from daskhpo.exceptions import PredictorError
from daskhpo.predictors import Boosting, ExtraTrees

KINDS = (ExtraTrees, Boosting)


@pytest.mark.parametrize("kind", KINDS)
def test_forecasts_stay_within_what_was_learned(kind, falling):
    curves, targets = falling(20)
    forecasts = kind(trees=20).fit(curves, targets).predict(np.array([curves[0] * 9]))
    assert targets.min() <= forecasts[0] <= targets.max()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_static_is_learned_from(kind):
    static = np.arange(12.0)[:, None]
    predictor = kind(trees=50).fit(np.ones((12, 3)), static[:, 0], static)
    forecasts = predictor.predict(np.ones((2, 3)), np.array([[1.0], [10.0]]))
    assert forecasts[0] < 4 < 7 < forecasts[1]


def test_another_seed_draws_other_trees(falling):
    curves, targets = falling(20)
    one, other = (ExtraTrees(5, seed=seed).fit(curves, targets) for seed in (0, 1))
    assert not np.array_equal(one.predict(curves + 0.1), other.predict(curves + 0.1))


@pytest.mark.parametrize("kind", KINDS)
def test_settings_that_cannot_work_are_refused(kind):
    with pytest.raises(PredictorError, match="trees=0: must be a whole number from 1 on"):
        kind(trees=0)
    with pytest.raises(PredictorError, match="seed=-1"):
        kind(seed=-1)
