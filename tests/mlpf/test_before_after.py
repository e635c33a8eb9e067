"""Before and after tuning: fair, repeated, and never done twice."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daskhpo.exceptions import CampaignError, DataError, SpaceError
from daskhpo.mlpf import before_after
from daskhpo.mlpf.before_after import (
    Order,
    Spread,
    Training,
    configurations,
    summarise,
    train,
    train_all,
)
from daskhpo.mlpf.before_after_figure import draw

TINY = {"events": 12, "output_dim": 8, "n_glayers_id": 1, "n_glayers_reg": 1, "bin_size": 8}


def order(side: str = "tuned", seed: int = 1, **params: Any) -> Order:
    return Order(side=side, params=TINY | params, seed=seed, epochs=2)


def training(side: str, seed: int, loss: float) -> Training:
    metrics = {"val_loss": loss, "val_cls_loss": 1.0, "val_reg_loss": 1.0, "val_accuracy": 0.5}
    return Training(
        side=side,
        params={},
        seed=seed,
        epochs=2,
        history=[metrics | {"val_loss": 2 * loss}, metrics],
        physics={"jets": {"response IQR": loss / 10}},
    )


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Trainings that are not trained; returns which were asked for."""
    done: list[str] = []

    def fake(order: Order) -> Training:
        done.append(order.name)
        made = training(order.side, order.seed, 1.0)
        return Training(
            **{f: getattr(made, f) for f in ("side", "seed", "epochs", "history", "physics")},
            params=dict(order.params),
        )

    monkeypatch.setattr(before_after, "train", fake)
    return done


# ---------------------------------------------------------------------- the two sides


def test_events_and_loss_are_shared_and_what_is_tuned_is_not() -> None:
    sides = configurations({"lr": 0.01, "events": 50, "cls_loss": "cross_entropy"})
    assert sides["default"] == {"events": 50, "cls_loss": "cross_entropy"}
    assert sides["tuned"]["lr"] == 0.01


def test_losses_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(CampaignError, match="cls_weight=2.0 before and 1.0 after"):
        configurations({"cls_weight": 1.0}, {"cls_weight": 2.0})


def test_a_parameter_that_means_nothing_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(SpaceError, match="lrr=1 is not a parameter of MLPF: did you mean 'lr'"):
        configurations({"lrr": 1})


# ---------------------------------------------------------------------- trainings


def test_a_training_reports_each_epoch_and_the_physics_of_the_final_network() -> None:
    made = train(order())
    assert [set(before_after.CURVES) <= set(entry) for entry in made.history] == [True, True]
    assert set(made.physics) == {"jets", "MET"}
    assert "response IQR" in made.physics["jets"]
    again = train(order())
    assert again.history == made.history  # a pure function of the order
    assert train(order(seed=2)).history != made.history


def test_seeds_differ_in_the_weights_and_not_in_the_events(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from daskhpo.mlpf.train import Trainer

    seen = []
    monkeypatch.setattr(Trainer, "train", lambda self, _: seen.append(self.data.validation))
    monkeypatch.setattr(before_after, "_physics", lambda *_: {})
    for seed in (1, 2):
        train(order(seed=seed))
    assert seen[0] is seen[-1]


def test_processes_give_what_one_process_gives(tmp_path: Path) -> None:
    orders = [order(seed=1), order("default", seed=1)]
    apart = train_all(orders, tmp_path / "two", jobs=2)
    assert [made.history for made in apart] == [
        made.history for made in train_all(orders, tmp_path / "one")
    ]


# ---------------------------------------------------------------------- going on


def test_what_is_done_is_not_done_again(tmp_path: Path, counted: list[str]) -> None:
    train_all([order(seed=1)], tmp_path)
    told: list[tuple[int, bool]] = []
    found = train_all(
        [order(seed=1), order(seed=2)],
        tmp_path,
        watch=lambda made, again: told.append((made.seed, again)),
    )
    assert counted == ["tuned-1.json", "tuned-2.json"]
    assert told == [(1, True), (2, False)]
    assert [made.seed for made in found] == [1, 2]


def test_an_interruption_keeps_what_was_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(order: Order) -> Training:
        if order.seed == 2:
            raise KeyboardInterrupt
        return training(order.side, order.seed, 1.0)

    monkeypatch.setattr(before_after, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_all([order(seed=1), order(seed=2)], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tuned-1.json"]


def test_a_training_of_another_configuration_is_not_taken_for_this_one(
    tmp_path: Path, counted: list[str]
) -> None:
    train_all([order(lr=0.1)], tmp_path)
    with pytest.raises(CampaignError, match=r"tuned-1.json: is of .*'lr': 0.1.* not of .*0.2"):
        train_all([order(lr=0.2)], tmp_path)


def test_a_damaged_file_is_named(tmp_path: Path, counted: list[str]) -> None:
    (tmp_path / "tuned-1.json").write_text('{"side": "tuned"')
    with pytest.raises(DataError, match=r"tuned-1.json: not a training of ours"):
        train_all([order()], tmp_path)
    assert counted == []


def test_a_training_that_diverged_is_kept_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = training("tuned", 1, math.nan)
    object.__setattr__(made, "params", dict(order().params))
    monkeypatch.setattr(before_after, "train", lambda _: made)
    train_all([order()], tmp_path)
    (kept,) = train_all([order()], tmp_path)
    assert math.isnan(kept.history[0]["val_loss"])
    assert kept.history[0]["val_accuracy"] == 0.5


# ---------------------------------------------------------------------- the comparison


def test_mean_and_standard_deviation_are_those_of_a_sample() -> None:
    assert Spread.of([1.0, 2.0, 3.0, None, math.nan]) == Spread(2.0, 1.0)
    alone = Spread.of([1.0])
    assert (alone.mean, math.isnan(alone.std)) == (1.0, True)
    assert math.isnan(Spread.of([]).mean)


def compared() -> dict[str, Any]:
    losses = {"default": (1.0, 3.0), "tuned": (1.0, 1.2)}
    return summarise(
        [training(side, n, loss) for side, of in losses.items() for n, loss in enumerate(of)]
    )


def test_the_summary_has_curves_finals_and_physics_of_both_sides() -> None:
    found = compared()
    assert found["default"]["curves"]["val_loss"]["mean"] == [4.0, 2.0]
    assert found["default"]["final"]["val_loss"]["std"] == pytest.approx(np.sqrt(2))
    assert found["tuned"]["physics"]["jets"]["response IQR"]["mean"] == pytest.approx(0.11)
    # 2 ± 1 became 1.1 ± 0.1: errors of the means, of two trainings each
    error = 0.55 * math.hypot(1 / 2, 0.1 / 1.1)
    assert found["gain"]["val_loss"] == pytest.approx({"mean": 0.45, "std": error})
    json.dumps(found, allow_nan=False)


def test_the_figure_is_drawn_and_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        paths = draw(compared(), tmp_path / name)
        assert [path.suffix for path in paths] == [".png", ".pdf"]
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_a_single_training_is_drawn_without_a_band(tmp_path: Path) -> None:
    found = summarise([training("default", 1, 2.0), training("tuned", 1, 1.0)])
    assert found["tuned"]["final"]["val_loss"] == {"mean": 1.0, "std": None}
    assert all(path.is_file() for path in draw(found, tmp_path / "figure"))
