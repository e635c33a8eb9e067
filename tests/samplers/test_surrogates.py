"""The fast posterior is scikit-optimize's posterior, and pending trials condition it exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.samplers.acquisition import log_expected_improvement, lower_bound
from daskhpo.samplers.candidates import neighbours, scattered, unique
from daskhpo.samplers.features import Features
from daskhpo.samplers.scores import comparable, prolonged, scalarised, winsorised
from daskhpo.samplers.surrogates import Forest, GaussianBelief, GaussianProcess
from daskhpo.space import Choice, Float, Int, Space


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def data(rng):
    rows = rng.random((40, 3))
    scores = winsorised(np.sin(5 * rows[:, 0]) + rows[:, 1] ** 2)
    return rows, scores, rng.random((25, 3))


@pytest.fixture
def process(data, rng):
    model = GaussianProcess()
    model.fit(data[0], data[1], rng)
    return model


class TestGaussianProcess:
    def test_agrees_with_scikit_optimize(self, process, data, rng):
        from skopt.learning import GaussianProcessRegressor

        rows, scores, candidates = data
        reference = GaussianProcessRegressor(process._kernel, noise="gaussian", optimizer=None)
        mean, std = reference.fit(rows, scores).predict(candidates, return_std=True)
        pool = process.believe(rows, scores, np.empty((0, 3)), rng).pool(candidates)
        assert np.allclose(pool.mean, mean, atol=1e-4)
        assert np.allclose(pool.std, std, atol=1e-4)

    def test_conditioning_one_by_one_is_conditioning_at_once(self, process, data, rng):
        rows, scores, candidates = data
        pool = process.believe(rows, scores, np.empty((0, 3)), rng).pool(candidates)
        for index in range(20):
            pool.condition(index)
        at_once = process.believe(rows, scores, candidates[:20], rng).pool(candidates)
        assert np.allclose(pool.mean, at_once.mean, atol=1e-6)
        assert np.allclose(pool.std, at_once.std, atol=1e-5)

    def test_a_pending_trial_takes_uncertainty_and_leaves_the_mean(self, process, data, rng):
        rows, scores, candidates = data
        pool = process.believe(rows, scores, np.empty((0, 3)), rng).pool(candidates)
        mean, std = pool.mean.copy(), pool.std.copy()
        index = int(std.argmax())
        pool.condition(index)
        assert (pool.mean == mean).all()
        assert (pool.std <= std + 1e-9).all()
        assert pool.std[index] < 0.3 * std[index]

    def test_a_second_fit_starts_from_the_first(self, process, data, rng):
        before = process._theta
        process.fit(data[0], data[1], rng)
        assert np.allclose(process._theta, before, atol=0.1)

    def test_the_same_row_twice_is_no_trouble(self, process, data, rng):
        rows, scores, candidates = data
        twice = np.vstack([rows, rows, rows])
        belief = GaussianBelief(process._kernel, twice, np.tile(scores, 3), candidates)
        assert np.isfinite(belief.pool(candidates).std).all()


class TestForest:
    def test_agrees_with_scikit_optimize(self, data, rng):
        rows, scores, candidates = data
        belief = Forest().believe(rows, scores, np.empty((0, 3)), rng)
        belief.model.min_variance = 1e-4
        mean, std = belief.model.predict(candidates, return_std=True)
        pool = belief.pool(candidates)
        assert np.allclose(pool.mean, mean)
        assert np.allclose(pool.std, std)

    def test_a_pending_trial_takes_uncertainty_from_its_like(self, data, rng):
        rows, scores, candidates = data
        pool = Forest().believe(rows, scores, np.empty((0, 3)), rng).pool(candidates)
        std = pool.std.copy()
        pool.condition(4)
        assert pool.std.argmin() == 4
        assert (pool.std <= std).all()
        assert (pool.std == std).any()

    def test_pending_rows_count_from_the_start(self, data):
        rows, scores, candidates = data

        def pool(pending):
            rng = np.random.default_rng(1)
            return Forest().believe(rows, scores, pending, rng).pool(candidates)

        conditioned = pool(np.empty((0, 3)))
        conditioned.condition(4)
        assert np.allclose(conditioned.std, pool(candidates[[4]]).std)


class TestAcquisition:
    @given(st.floats(-30, 30), st.floats(1e-3, 1e3))
    def test_the_logarithm_is_that_of_the_expected_improvement(self, z, std):
        score = log_expected_improvement(np.array([0.0]), np.array([std]), z * std)[0]
        assert math.isfinite(score)
        if z > -5:
            density = math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
            below = 0.5 * math.erfc(-z / math.sqrt(2))
            assert score == pytest.approx(math.log(std * (density + z * below)), abs=1e-6)

    @given(st.floats(-1e8, 1e3), st.floats(1e-6, 1e3))
    def test_a_nearer_mean_is_always_better(self, z, gap):
        mean, std = np.array([0.0, gap * max(1.0, abs(z)) * 1e-3]), np.ones(2)
        scores = log_expected_improvement(mean, std, z)
        assert scores[0] > scores[1]

    def test_the_lower_bound_prefers_the_uncertain(self):
        scores = lower_bound(np.zeros(2), np.array([1.0, 2.0]), 0.0)
        assert scores[1] > scores[0]


class TestScores:
    @given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
    def test_scores_are_finite_and_keep_the_order(self, values):
        scores = winsorised(np.array(values))
        assert np.isfinite(scores).all()
        assert (np.diff(scores[np.argsort(values, kind="stable")]) >= -1e-12).all()

    def test_scores_do_not_depend_on_how_bad_the_bad_are(self):
        values = np.array([1.0, 2.0, 3.0, 4.0, 50.0])
        worse = np.array([1.0, 2.0, 3.0, 4.0, 1e300])
        assert np.allclose(winsorised(values), winsorised(np.minimum(worse, 1e9)), atol=1e-4)

    def test_scores_tell_a_tied_best_from_the_rest(self):
        scores = winsorised(np.array([0.0, 0.0, 0.0, 7.0, 8.0]))
        assert scores[0] < 0 < scores[3] == scores[4]

    def test_values_of_short_trials_are_carried_up_step_by_step(self):
        gains = {(1, 3): [-1.0, -2.0, -3.0], (3, 9): [-0.5], (1, 9): [-99.0]}
        values = prolonged(np.array([5.0, 5.0, 5.0, math.inf]), np.array([1, 3, 9, 1]), gains)
        assert values.tolist() == [2.5, 4.5, 5.0, math.inf]

    def test_values_at_steps_that_nobody_passed_stay_as_they_are(self):
        assert prolonged(np.array([5.0, 4.0]), np.array([2, 7]), {}).tolist() == [5.0, 4.0]
        gains = {(3, 9): [-1.0]}
        assert prolonged(np.array([5.0, 4.0]), np.array([2, 9]), gains).tolist() == [4.0, 4.0]


class TestTradeOffs:
    VALUES = np.array([[1.0, 9.0], [2.0, 5.0], [9.0, 1.0], [9.0, 9.0], [math.inf, 0.0]])

    def test_one_metric_stays_as_it_is(self, rng):
        values = np.array([[3.0], [math.inf], [-1.0]])
        assert scalarised(values, rng).tolist() == [3.0, math.inf, -1.0]

    def test_a_dominated_trial_is_never_best_and_a_failed_one_is_worst(self, rng):
        for _ in range(50):
            scores = scalarised(self.VALUES, rng)
            assert scores[:4].argmax() == 3
            assert scores[4] == math.inf
            assert np.isfinite(scores[:4]).all()

    def test_every_point_of_the_front_is_best_for_some_weights(self, rng):
        best = {int(scalarised(self.VALUES, rng).argmin()) for _ in range(200)}
        assert best == {0, 1, 2}

    @given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
    def test_units_do_not_matter(self, shift, scale):
        other = self.VALUES[:4] * [1.0, scale] + [0.0, shift]
        one = scalarised(self.VALUES[:4], np.random.default_rng(5))
        assert np.allclose(one, scalarised(other, np.random.default_rng(5)), atol=1e-4)

    def test_one_huge_value_does_not_hide_the_others(self):
        values = np.vstack([self.VALUES[:4], [1.0, 1e30]])
        best = {int(scalarised(values, np.random.default_rng(k)).argmin()) for k in range(200)}
        assert {1, 2} <= best

    def test_scores_go_up_to_the_largest_step_in_every_metric(self, rng):
        gains = {(1, 9): [np.array([-4.0, 100.0])]}
        values, steps = np.array([[5.0, 0.0], [1.0, 100.0]]), np.array([1.0, 9.0])
        scores = comparable(values, steps, gains, rng)
        assert scores[0] == scores[1]


class TestCandidates:
    SPACE = Space(x=Float(0.0, 1.0), n=Int(1, 5), kind=Choice(list("abc")))

    def test_neighbours_lie_near_and_inside(self, rng):
        features = Features(self.SPACE)
        centre = np.array([[0.5, 0.5, 0.5]])
        points = neighbours(features, centre, 400, 0.1, rng)
        assert ((points >= 0) & (points <= 1)).all()
        assert 0.0 < np.abs(points[:, 0] - 0.5).mean() < 0.1

    def test_neighbours_reach_the_next_value_and_every_choice(self, rng):
        features = Features(self.SPACE)
        points = neighbours(features, np.array([[0.5, 0.5, 0.5]]), 400, 0.01, rng)
        decoded = [self.SPACE.decode(point) for point in points]
        assert {2, 3, 4} <= {params["n"] for params in decoded}
        assert {params["kind"] for params in decoded} == {"a", "b", "c"}

    def test_no_forbidden_candidate_is_kept(self, rng):
        space = self.SPACE.forbid({"kind": "a", "x": {"low": 0.5}}, {"n": [2, 3]})
        features = Features(space)
        kept = unique(features, rng.random((200, 3)), set())
        assert 20 < len(kept) < 120
        assert all(space.contains(space.decode(unit)) for unit in kept)
        assert not features.forbidden(scattered(features, 200, rng)).any()

    def test_only_free_and_different_configurations_are_kept(self):
        space = Space(n=Int(1, 2), kind=["a", "b"])
        features = Features(space)
        units = np.array([[0.1, 0.1], [0.2, 0.3], [0.9, 0.1], [0.9, 0.9]])
        taken = set(features.keys(np.array([[0.75, 0.25]])))
        assert [space.decode(unit) for unit in unique(features, units, taken)] == [
            {"n": 1, "kind": "a"},
            {"n": 2, "kind": "b"},
        ]


def test_inactive_columns_are_neutral():
    space = Space(
        opt=["adam", "sgd", "lamb"],
        m=Float(0.0, 1.0, when={"opt": "sgd"}),
        kind=Choice(["a", "b", "c", "d"], when={"opt": "sgd"}),
        flag=Choice([True, False], when={"opt": "sgd"}),
    )
    columns = Features(space).columns(np.array([[0.1, 0.9, 0.9, 0.9], [0.5, 0.9, 0.9, 0.9]]))
    assert columns[0].tolist() == [1, 0, 0, 0.5, 0.25, 0.25, 0.25, 0.25, 0.5]
    assert columns[1].tolist() == [0, 1, 0, 0.9, 0, 0, 0, 1, 1]


def test_what_hangs_on_an_inactive_parameter_is_inactive():
    space = Space(
        opt=["adam", "sgd"],
        kind=Choice(["a", "b", "c"], when={"opt": "sgd"}),
        width=Float(0.0, 1.0, when={"kind": "b"}),  # an inactive kind is put at b
    )
    snapped, active = Features(space).snap(np.array([[0.1, 0.1, 0.9], [0.9, 0.5, 0.9]]))
    assert active.tolist() == [[True, False, False], [True, True, True]]
    assert snapped[:, 2].tolist() == [0.5, 0.9]
