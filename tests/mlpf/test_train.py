"""Training as a trial: it learns, resumes bit for bit, and n ranks equal one."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from daskhpo.exceptions import SpaceError
from daskhpo.mlpf import train
from daskhpo.mlpf.space import laptop, table1
from daskhpo.mlpf.train import Dataset, EventBatches, TrainingConfig, configure, objective

SHARED = Path(os.environ.get("DASKHPO_SHARED", Path(__file__).parents[3] / "shared"))
REAL_EVENTS = SHARED / "events" / "ttbar_pu0.npz"
SMALL = {"output_dim": 8, "distance_dim": 4, "n_glayers_id": 1, "n_glayers_reg": 1, "bin_size": 8}


class StubTrial:
    """The part of a trial that `objective` uses; keeps the state after every epoch."""

    def __init__(self, params: dict[str, Any], *, epochs: int = 3, seed: int = 1) -> None:
        self.params = SMALL | params
        self.number, self.seed, self.max_step = 0, seed, epochs
        self.rank, self.world_size, self.device = 0, 1, "cpu"
        self.reports: list[dict[str, float]] = []
        self.states: list[dict[str, Any]] = []
        self.final: dict[str, Any] = {}

    def ddp(self, module: nn.Module) -> nn.Module:
        if self.world_size == 1:
            return module
        return nn.parallel.DistributedDataParallel(module)

    def steps(self, **state: Any) -> Iterator[int]:
        if self.states:
            for name, saved in self.states[-1].items():
                state[name].load_state_dict(copy.deepcopy(saved))
        for epoch in range(len(self.states) + 1, self.max_step + 1):
            yield epoch
            self.states.append({k: copy.deepcopy(v.state_dict()) for k, v in state.items()})

    def report(self, **metrics: float) -> None:
        self.reports.append(metrics)


def synthetic_events(n_events: int = 24, seed: int = 0) -> EventBatches:
    """Events of 1 to 40 elements whose class follows from type and energy."""
    g = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, 41, (n_events,), generator=g)
    m = int(counts.sum())
    x = torch.randn(m, 12, generator=g)
    x[:, 0] = torch.randint(1, 3, (m,), generator=g)
    x[:, [1, 5]] = x[:, [1, 5]].exp()
    kind = torch.where(x[:, 0] == 2, 1.0, torch.where(x[:, 1] > 1, 3.0, 0.0))
    y = torch.cat([kind[:, None], (kind == 1).float()[:, None], 1.2 * x[:, 1:6]], dim=1)
    return EventBatches.of(x, y * (kind != 0)[:, None], counts)


def use_synthetic(*_: object) -> Dataset:
    events = synthetic_events()
    return Dataset(events.take(torch.arange(18)), events.take(torch.arange(18, 24)))


@pytest.fixture
def synthetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train on synthetic events, whatever a trial asks for, on one thread."""
    monkeypatch.setattr(train, "_dataset", use_synthetic)


def final_weights(trial: StubTrial) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = trial.states[-1]["model"]
    return weights


@pytest.mark.usefixtures("synthetic")
def test_training_lowers_the_validation_loss_and_reports_what_the_papers_plot() -> None:
    trial = StubTrial({"lr": 0.01}, epochs=8)
    objective(trial)
    first, last = trial.reports[0], trial.reports[-1]
    assert set(last) == {"val_loss", "val_cls_loss", "val_reg_loss", "val_accuracy"}
    assert last["val_loss"] < 0.7 * first["val_loss"]
    assert last["val_accuracy"] > 0.8


@pytest.mark.usefixtures("synthetic")
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_a_resumed_training_equals_an_undisturbed_one_bit_for_bit(schedule: str) -> None:
    params = {"dropout": 0.3, "schedule": schedule}
    undisturbed = StubTrial(params, epochs=4)
    objective(undisturbed)
    resumed = StubTrial(params, epochs=4)
    resumed.states = undisturbed.states[:2]  # paused after two epochs, taken up by a new process
    torch.manual_seed(123)  # whatever else happened in that process
    objective(resumed)
    assert resumed.reports == undisturbed.reports[2:]
    for name, tensor in final_weights(undisturbed).items():
        assert torch.equal(final_weights(resumed)[name], tensor)


@pytest.mark.usefixtures("synthetic")
def test_the_cosine_schedule_falls_towards_zero_and_the_constant_one_stays() -> None:
    rates = {}
    for schedule in ("cosine", "constant"):
        trial = StubTrial({"lr": 0.01, "schedule": schedule}, epochs=4)
        objective(trial)
        rates[schedule] = [s["optimizer"]["param_groups"][0]["lr"] for s in trial.states]
    assert rates["constant"] == [0.01] * 4
    assert rates["cosine"] == sorted(rates["cosine"], reverse=True)
    assert 0 < rates["cosine"][-1] < 0.001


@pytest.mark.usefixtures("synthetic")
def test_every_epoch_is_shuffled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[list[int]] = []
    shuffled = EventBatches.shuffled

    def record(self: EventBatches, *args: Any, **kwargs: Any) -> list[Tensor]:
        batches = shuffled(self, *args, **kwargs)
        orders.append(torch.cat(batches).tolist())
        return batches

    monkeypatch.setattr(EventBatches, "shuffled", record)
    objective(StubTrial({}, epochs=2))
    assert len(orders) == 2
    assert orders[0] != orders[1]


@pytest.mark.usefixtures("synthetic")
def test_training_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    objective(StubTrial({"dropout": 0.3}, epochs=1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.usefixtures("synthetic")
def test_trials_differ_by_their_seed_but_not_by_anything_else() -> None:
    trials = [StubTrial({}, epochs=1, seed=seed) for seed in (1, 1, 2)]
    for trial in trials:
        objective(trial)
    assert trials[0].reports == trials[1].reports != trials[2].reports


def _train_as_rank(rank: int, world_size: int, folder: str) -> None:
    torch.set_num_threads(1)
    train._dataset = use_synthetic  # type: ignore[assignment]
    store = f"file://{folder}/store"
    torch.distributed.init_process_group("gloo", store, rank=rank, world_size=world_size)
    trial = StubTrial({"precision": "float64", "batch_size": 5}, epochs=2)
    trial.rank, trial.world_size = rank, world_size
    objective(trial)
    torch.save((trial.reports, final_weights(trial)), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("synthetic")
def test_two_ranks_train_as_one_would(tmp_path: Path) -> None:
    alone = StubTrial({"precision": "float64", "batch_size": 5}, epochs=2)
    objective(alone)
    spawn(_train_as_rank, args=(2, str(tmp_path)), nprocs=2)  # type: ignore[no-untyped-call]
    for rank in (0, 1):
        reports, weights = torch.load(tmp_path / f"{rank}.pt")
        for mine, expected in zip(reports, alone.reports, strict=True):
            assert mine == pytest.approx(expected, rel=1e-9)
        for name, tensor in final_weights(alone).items():
            torch.testing.assert_close(weights[name], tensor, rtol=1e-7, atol=1e-9)


@pytest.mark.usefixtures("synthetic")
def test_a_batch_with_fewer_events_than_ranks_is_refused() -> None:
    trial = StubTrial({"batch_size": 2})
    trial.world_size = 3
    with pytest.raises(SpaceError, match="batch_size=2 must be at least the number of ranks, 3"):
        objective(trial)


def test_an_unknown_parameter_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(SpaceError, match=r"n_glayer_id=3 is not .* did you mean 'n_glayers_id'"):
        configure({"n_glayer_id": 3})


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("lr", 0.0, "greater than 0"),
        ("weight_decay", -1.0, "at least 0"),
        ("batch_size", 0, "at least 1"),
        ("schedule", "linear", "'constant', 'cosine'"),
        ("precision", "half", "'float64'"),
        ("validation_fraction", 1.0, "between 0 and 1"),
    ],
)
def test_a_wrong_setting_is_refused_by_name_value_and_what_is_allowed(
    name: str, value: Any, allowed: str
) -> None:
    with pytest.raises(SpaceError, match=f"{name}={value!r}") as error:
        TrainingConfig(**{name: value})
    assert allowed in str(error.value)


@pytest.mark.parametrize("space", [table1(), laptop()])
def test_every_name_in_a_space_is_a_parameter_and_its_ends_are_legal(space: Any) -> None:
    for end in (0, -1):
        point = {}
        for name, domain in space.items():
            values = domain.get("choices") or [domain.get("low"), domain.get("high")]
            point[name] = domain["value"] if domain["type"] == "constant" else values[end]
        configure(point)


def test_the_laptop_space_searches_what_the_papers_searched() -> None:
    searched = {name for name, domain in laptop().items() if domain["type"] != "constant"}
    assert searched == set(table1())


def test_an_epoch_holds_every_event_once_in_an_order_of_its_own() -> None:
    events = synthetic_events()
    epochs = [events.shuffled(5, seed=3, epoch=epoch) for epoch in (1, 1, 2)]
    orders = [torch.cat(batches).tolist() for batches in epochs]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[2]) == list(range(24))
    assert {len(batch) for batch in epochs[0]} == {4, 5}


@given(st.integers(1, 5), st.integers(0, 50))
def test_shares_of_ranks_make_up_the_batch_and_are_balanced(world_size: int, seed: int) -> None:
    events = synthetic_events()
    batch = events.shuffled(12, seed=seed, epoch=1)[0]
    shares = [events.share(batch, rank, world_size) for rank in range(world_size)]
    assert sorted(torch.cat(shares).tolist()) == sorted(batch.tolist())
    assert all(len(share) > 0 for share in shares)
    loads = [int(events.counts[share].sum()) for share in shares]
    assert max(loads) - min(loads) <= int(events.counts.max()) + len(batch)


def test_taking_events_gives_their_rows_in_order() -> None:
    events = synthetic_events()
    taken = events.take(torch.tensor([3, 0]))
    parts = torch.split(events.x, events.counts.tolist())
    assert torch.equal(taken.x, torch.cat([parts[3], parts[0]]))
    particles = [
        int((part[:, 0] != 0).sum()) for part in torch.split(taken.y, taken.counts.tolist())
    ]
    assert taken.particles.tolist() == particles


def test_the_shipped_sample_is_split_by_events_and_the_same_for_all_trials() -> None:
    data = train._dataset("sample", 20, 0.25, 0)
    assert len(data.train.counts) == 15
    assert len(data.validation.counts) == 5
    assert train._dataset("sample", 20, 0.25, 0) is data
    other = train._dataset("sample", 20, 0.25, 1)
    assert not np.array_equal(other.validation.counts, data.validation.counts)


def test_more_events_than_there_are_is_refused() -> None:
    with pytest.raises(SpaceError, match="events=10000000 must be 0"):
        train._dataset("sample", 10_000_000, 0.25, 0)


@pytest.mark.skipif(not REAL_EVENTS.is_file(), reason=f"needs {REAL_EVENTS}")
def test_on_real_events_it_beats_guessing_and_the_learning_rate_matters() -> None:
    common = {"data": str(REAL_EVENTS), "events": 100, "output_dim": 16, "batch_size": 4}
    good, poor = (StubTrial(common | {"lr": lr}, epochs=3) for lr in (5e-3, 1e-6))
    objective(good)
    objective(poor)
    assert good.reports[-1]["val_accuracy"] > 0.5  # guessing one class: 1/6
    assert good.reports[-1]["val_loss"] < 0.5 * poor.reports[-1]["val_loss"]
