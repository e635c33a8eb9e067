"""Adapters of pretrained networks, with doubles in place of packages and weights."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from daskhpo.exceptions import PredictorError
from daskhpo.predictors import LCPFN, IfBO, pretrained

CURVES = np.array([[9.0, 5.0, 4.0], [9.0, 3.0, 2.0]])
TARGETS = np.array([3.0, 1.0])
STATIC = np.array([[0.0, 5.0], [1.0, 7.0]])


@pytest.fixture(autouse=True)
def nothing_loaded():
    pretrained._load_lcpfn.cache_clear()
    pretrained._load_ftpfn.cache_clear()
    yield
    pretrained._load_lcpfn.cache_clear()
    pretrained._load_ftpfn.cache_clear()


@pytest.fixture
def lcpfn(monkeypatch, tmp_path):
    """A package whose network says that a curve stays where it is, and records what it is asked."""
    torch = pytest.importorskip("torch")
    asked = []

    class Network:
        def __init__(self, model_name):
            self.model_name = model_name

        def predict_quantiles(self, x_train, y_train, x_test, qs):
            assert x_train.shape == y_train.shape
            assert torch.all((y_train >= 0) & (y_train <= 1))
            asked.append((x_train, x_test, qs))
            return y_train[-1:].clone()

    monkeypatch.setitem(sys.modules, "lcpfn", SimpleNamespace(LCPFN=Network))
    weights = tmp_path / "weights.pt"
    weights.touch()
    return weights, asked


@pytest.fixture
def ifbo(monkeypatch, tmp_path):
    """A package whose network says that a curve stays where it is, and records what it is asked."""
    pytest.importorskip("torch")
    asked = []

    class Network:
        def __init__(self, target_path, version):
            assert (target_path, version) == (tmp_path, "0.0.1")

        def predict(self, context, query):
            asked.append((context, query))
            begun = context[-1]
            assert begun.hyperparameters.equal(query[0].hyperparameters)
            return [SimpleNamespace(quantile=lambda q: begun.y[-1:])]

    def curve(hyperparameters, t, y):
        return SimpleNamespace(hyperparameters=hyperparameters, t=t, y=y)

    names = SimpleNamespace(
        FILENAME=lambda version: "archive.tar.gz", WEIGHTS_FINAL_NAME=lambda version: "network.pt"
    )
    package = SimpleNamespace(VERSION_MAP={"0.0.1": {}}, FTPFN=Network, Curve=curve)
    monkeypatch.setitem(sys.modules, "ifbo", package)
    monkeypatch.setitem(sys.modules, "ifbo.download", names)
    (tmp_path / ".model").mkdir()
    for name in ("archive.tar.gz", "network.pt"):
        (tmp_path / ".model" / name).touch()
    return tmp_path, asked


def test_lc_pfn_is_asked_for_rising_curves_and_answers_in_our_units(lcpfn):
    weights, asked = lcpfn
    predictor = LCPFN(weights, target_step=12).fit(CURVES, TARGETS)
    np.testing.assert_allclose(predictor.predict(CURVES), [4.0, 2.0], rtol=1e-5)
    steps, target, quantiles = asked[0]
    assert steps[:, 0].tolist() == [1, 2, 3]
    assert (target.tolist(), quantiles) == ([[12]], [0.5])


def test_lc_pfn_never_sees_a_step_beyond_its_horizon(lcpfn):
    weights, asked = lcpfn
    LCPFN(weights, target_step=400).fit(CURVES, TARGETS).predict(CURVES)
    assert asked[0][0][:, 0].tolist() == [0.25, 0.5, 0.75]
    assert asked[0][1].tolist() == [[100]]


def test_ft_pfn_reads_complete_curves_and_the_begun_one(ifbo):
    weights, asked = ifbo
    predictor = IfBO(weights, target_step=10).fit(CURVES, TARGETS, STATIC)
    np.testing.assert_allclose(predictor.predict(CURVES, STATIC), [4.0, 2.0], rtol=1e-5)
    context, [query] = asked[0]
    np.testing.assert_allclose([curve.t[-1] for curve in context], [1.0, 1.0, 0.3])
    np.testing.assert_allclose(context[1].y, [0.0, 0.75, 0.875, 1.0])
    np.testing.assert_allclose(context[1].hyperparameters, [1.0, 1.0])
    assert (query.t.tolist(), query.y) == ([1.0], None)


def test_ft_pfn_needs_the_hyperparameters(ifbo):
    with pytest.raises(PredictorError, match="static is missing"):
        IfBO(ifbo[0], target_step=10).fit(CURVES, TARGETS)
    with pytest.raises(PredictorError, match="static has 11 columns"):
        IfBO(ifbo[0], target_step=10).fit(CURVES, TARGETS, np.zeros((2, 11)))


def test_without_the_package_the_error_names_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "lcpfn", None)
    monkeypatch.setitem(sys.modules, "ifbo", None)
    with pytest.raises(PredictorError, match="package 'lcpfn' cannot be imported"):
        LCPFN(tmp_path).fit(CURVES, TARGETS)
    with pytest.raises(PredictorError, match="package 'ifbo' cannot be imported"):
        IfBO(tmp_path).fit(CURVES, TARGETS, STATIC)


def test_without_weights_nothing_is_downloaded(lcpfn, ifbo, tmp_path):
    with pytest.raises(PredictorError, match="no such file; they are not downloaded"):
        LCPFN(tmp_path / "none.pt").fit(CURVES, TARGETS)
    (tmp_path / ".model" / "network.pt").unlink()
    with pytest.raises(PredictorError, match=r"network.pt; it is not downloaded"):
        IfBO(tmp_path).fit(CURVES, TARGETS, STATIC)


@pytest.mark.parametrize("kind", [LCPFN, IfBO])
def test_targets_must_lie_ahead(kind, lcpfn, ifbo):
    weights = lcpfn[0] if kind is LCPFN else ifbo[0]
    with pytest.raises(PredictorError, match="target_step=3: must be beyond the 3 steps"):
        kind(weights, target_step=3).fit(CURVES, TARGETS, STATIC)
    with pytest.raises(PredictorError, match="target_step=1: must be a whole number from 2 on"):
        kind(weights, target_step=1)
