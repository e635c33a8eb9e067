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
from daskhpo.mlpf.batches import Dataset, EventBatches, load_dataset, share
from daskhpo.mlpf.schedules import SCHEDULES
from daskhpo.mlpf.schema import CLIC
from daskhpo.mlpf.train import Trainer, objective

SHARED = Path(os.environ.get("DASKHPO_SHARED", Path(__file__).parents[3] / "shared"))
REAL_EVENTS = SHARED / "events" / "ttbar_pu0.npz"
SMALL = {"output_dim": 8, "distance_dim": 4, "n_glayers_id": 1, "n_glayers_reg": 1, "bin_size": 8}


class StubTrial:
    """The part of a trial that `objective` uses; keeps the state after every step.

    Given `milestones` it is judged after these steps, and always promoted.
    """

    def __init__(
        self,
        params: dict[str, Any],
        *,
        epochs: int = 3,
        seed: int = 1,
        milestones: tuple[int, ...] = (),
    ) -> None:
        self.params = SMALL | params
        self.seed, self.max_step = seed, epochs
        self.milestones = milestones
        self.stop = epochs
        self.rank, self.world_size, self.device = 0, 1, "cpu"
        self.reports: list[dict[str, float]] = []
        self.states: list[dict[str, Any]] = []

    def ddp(self, module: nn.Module) -> nn.Module:
        if self.world_size == 1:
            return module
        return nn.parallel.DistributedDataParallel(module)

    def steps(self, **state: Any) -> Iterator[int]:
        if self.states:
            for name, saved in self.states[-1].items():
                state[name].load_state_dict(copy.deepcopy(saved))
        for epoch in range(len(self.states) + 1, self.max_step + 1):
            self.stop = min((m for m in self.milestones if m >= epoch), default=self.max_step)
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
    monkeypatch.setattr(train, "load_dataset", use_synthetic)


def final_weights(trial: StubTrial) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = trial.states[-1]["model"]
    return weights


@pytest.mark.usefixtures("synthetic")
def test_training_lowers_the_validation_loss_and_reports_what_the_papers_plot() -> None:
    trial = StubTrial({"lr": 0.01}, epochs=8)
    objective(trial)
    first, last = trial.reports[0], trial.reports[-1]
    names = {"val_loss", "val_cls_loss", "val_charge_loss", "val_reg_loss", "val_accuracy"}
    assert set(last) == names
    parts = last["val_cls_loss"] + last["val_charge_loss"] + last["val_reg_loss"]
    assert last["val_loss"] == pytest.approx(parts)
    assert last["val_loss"] < 0.7 * first["val_loss"]
    assert last["val_accuracy"] > 0.8


@pytest.mark.usefixtures("synthetic")
@pytest.mark.parametrize(
    ("schedule", "span", "unit"),
    [
        *((schedule, "rung", unit) for schedule in SCHEDULES for unit in ("epoch", "steps")),
        ("cosine", "campaign", "epoch"),
    ],
)
def test_a_resumed_training_equals_an_undisturbed_one_bit_for_bit(
    schedule: str, span: str, unit: str
) -> None:
    params = {"dropout": 0.3, "schedule": schedule, "schedule_span": span, "unit": unit}
    params |= {"steps_per_unit": 2, "batch_size": 5} if unit == "steps" else {}
    params |= {"decay_rate": 0.7} if schedule == "exponential" else {}
    undisturbed = StubTrial(params, epochs=4, milestones=(1, 3))
    objective(undisturbed)
    for pause in (1, 2):  # at a milestone, in the middle of a rung
        resumed = StubTrial(params, epochs=4, milestones=(1, 3))
        resumed.states = undisturbed.states[:pause]  # taken up by a new process
        torch.manual_seed(123)  # whatever else happened in that process
        objective(resumed)
        assert resumed.reports == undisturbed.reports[pause:]
        for name, tensor in final_weights(undisturbed).items():
            assert torch.equal(final_weights(resumed)[name], tensor)


@pytest.mark.usefixtures("synthetic")
def test_a_trial_that_is_to_be_judged_elsewhere_keeps_the_stretch_that_it_is_in() -> None:
    params = {"schedule_span": "rung", "lr": 0.01}
    undisturbed = StubTrial(params, epochs=4, milestones=(3,))
    objective(undisturbed)
    resumed = StubTrial(params, epochs=4, milestones=(2,))
    resumed.states = undisturbed.states[:1]
    objective(resumed)
    assert resumed.reports[:2] == undisturbed.reports[1:3]


def rates(params: dict[str, Any], **trial: Any) -> list[float]:
    """The learning rate of the last gradient step of each epoch, of three."""
    stub = StubTrial({"lr": 0.01} | params, **trial)
    objective(stub)
    return [s["optimizer"]["param_groups"][0]["lr"] for s in stub.states]


@pytest.mark.usefixtures("synthetic")
def test_schedules_set_the_learning_rate_of_every_gradient_step() -> None:
    # 18 events in batches of 8: three gradient steps, the last when 2/3 of the epoch are over
    assert rates({"schedule": "constant"}) == [0.01] * 3
    x = np.array([2 / 9, 5 / 9, 8 / 9])
    assert rates({"schedule": "cosine"}) == pytest.approx(0.005 * (1 + np.cos(np.pi * x)))
    assert rates({"schedule": "exponential", "decay_rate": 0.5}) == pytest.approx(
        0.01 * 0.5 ** (3 * x)
    )


@pytest.mark.usefixtures("synthetic")
def test_of_a_rung_the_schedule_ends_at_its_milestone_and_begins_anew_after_it() -> None:
    found = rates({"schedule_span": "rung"}, epochs=4, milestones=(1, 2))
    x = np.array([2 / 3, 2 / 3, 1 / 3, 5 / 6])
    assert found == pytest.approx(0.005 * (1 + np.cos(np.pi * x)))
    assert rates({"schedule_span": "rung"}, epochs=4) == rates({}, epochs=4)


@pytest.mark.usefixtures("synthetic")
def test_gradient_steps_are_cut_from_an_endless_stream_of_shuffled_epochs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[list[int]] = []
    share_all = train.share

    def record(source: EventBatches, events: Tensor, **kwargs: Any) -> Tensor:
        if len(source.counts) == 18:  # not those to validate on
            seen.append(events.tolist())
        return share_all(source, events, **kwargs)

    monkeypatch.setattr(train, "share", record)
    trial = StubTrial({"unit": "steps", "steps_per_unit": 4, "batch_size": 6}, epochs=3)
    objective(trial)
    events = use_synthetic().train
    epochs = [events.shuffled(6, seed=1, epoch=epoch) for epoch in (1, 2, 3, 4)]  # of 3 batches
    assert seen == [batch.tolist() for epoch in epochs for batch in epoch]


@pytest.mark.usefixtures("synthetic")
def test_how_often_events_were_seen_is_told_in_either_unit() -> None:
    epochs = Trainer(StubTrial({"batch_size": 6}))
    assert epochs.train(1) == 18
    assert epochs.trained_on(2).epochs == 2
    steps = Trainer(StubTrial({"batch_size": 6, "unit": "steps", "steps_per_unit": 4}))
    assert steps.train(1) == 24
    assert steps.trained_on(3).epochs == 4
    assert steps.trained_on(3).schema == "delphes"


@pytest.mark.usefixtures("synthetic")
def test_batches_bounded_by_elements_train_every_event() -> None:
    trainer = Trainer(StubTrial({"batch_elements": 50}))
    assert trainer.train(1) == 18
    assert set(trainer.validate()) >= {"val_loss"}


@pytest.mark.usefixtures("synthetic")
def test_clipping_bounds_the_norm_of_the_gradient() -> None:
    norms = {}
    for clip in (0.0, 1e-3):
        trainer = Trainer(StubTrial({"clip_norm": clip}))
        trainer.train(1)
        gradients = [p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]
        norms[clip] = float(torch.cat(gradients).norm())
    assert norms[0.0] > 0.01
    assert norms[1e-3] == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.usefixtures("synthetic")
def test_the_two_optimisers_treat_the_decay_of_weights_differently() -> None:
    reports = []
    for optimizer in ("adamw", "adam"):
        trial = StubTrial({"optimizer": optimizer, "weight_decay": 0.1}, epochs=1)
        objective(trial)
        reports.append(trial.reports)
    assert reports[0] != reports[1]


@pytest.mark.usefixtures("synthetic")
@pytest.mark.parametrize("choice", ["sigmoid_focal", "cross_entropy"])
def test_every_classification_loss_is_learned(choice: str) -> None:
    # these events are no physics: where their elements lie tells nothing
    trial = StubTrial({"cls_loss": choice, "lr": 0.01, "position_scale": 0.0}, epochs=12)
    objective(trial)
    assert trial.reports[-1]["val_accuracy"] > 0.7
    assert trial.reports[-1]["val_cls_loss"] < 0.7 * trial.reports[0]["val_cls_loss"]


@pytest.mark.usefixtures("synthetic")
def test_the_padded_norm_scales_the_validation_loss_by_real_to_padded_elements() -> None:
    counts = use_synthetic().validation.counts
    losses = {}
    for norm in ("real", "padded"):
        trainer = Trainer(StubTrial({"loss_norm": norm}))
        losses[norm] = trainer.validate()["val_cls_loss"]
    padded = len(counts) * int(counts.max())
    assert losses["padded"] == pytest.approx(losses["real"] * int(counts.sum()) / padded)


@pytest.mark.usefixtures("synthetic")
def test_a_training_that_diverges_reports_nan_and_trains_no_more() -> None:
    trainer = Trainer(StubTrial({"lr": 1e30}))
    assert trainer.train(1) == 18
    assert np.isnan(trainer.validate()["val_loss"])
    assert trainer.train(2) == 0
    assert np.isnan(trainer.validate()["val_loss"])


def test_the_network_has_the_columns_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    d = synthetic_events()
    x = torch.nn.functional.pad(d.x, (0, CLIC.width - d.x.shape[1]))
    clic = EventBatches.of(x, d.y, d.counts, CLIC)
    monkeypatch.setattr(train, "load_dataset", lambda *_: Dataset(clic, clic))
    trial = StubTrial({}, epochs=1)
    objective(trial)
    assert Trainer(StubTrial({})).model.config.input_dim == 17
    with pytest.raises(SpaceError, match="input_dim=12 must be 17, the columns of clic events"):
        Trainer(StubTrial({"input_dim": 12}))


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


# Each a training of its own: new losses, clipping, upstream's norm, batches smaller than the ranks.
TWO_RANKS: dict[str, dict[str, Any]] = {
    "defaults": {"batch_size": 5},
    "padded": {
        "loss_norm": "padded",
        "cls_loss": "sigmoid_focal",
        "clip_norm": 0.05,
        "pt_power": 0.5,
    },
    "few-events": {"batch_elements": 40, "unit": "steps", "steps_per_unit": 4, "reg_weight": 9.0},
}


def _train_all() -> list[StubTrial]:
    trials = []
    for params in TWO_RANKS.values():
        rungs = {"precision": "float64", "schedule_span": "rung"}
        trial = StubTrial(params | rungs, epochs=2, milestones=(1,))
        if torch.distributed.is_initialized():
            trial.rank = torch.distributed.get_rank()
            trial.world_size = torch.distributed.get_world_size()
        objective(trial)
        trials.append(trial)
    return trials


def _train_as_rank(rank: int, world_size: int, folder: str) -> None:
    torch.set_num_threads(1)
    train.load_dataset = use_synthetic  # type: ignore[attr-defined]
    store = f"file://{folder}/store"
    torch.distributed.init_process_group("gloo", store, rank=rank, world_size=world_size)
    results = [(trial.reports, final_weights(trial)) for trial in _train_all()]
    torch.save(results, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("synthetic")
def test_two_ranks_train_as_one_would(tmp_path: Path) -> None:
    alone = _train_all()
    spawn(_train_as_rank, args=(2, str(tmp_path)), nprocs=2)  # type: ignore[no-untyped-call]
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt")
        for name, (reports, weights), one in zip(TWO_RANKS, found, alone, strict=True):
            for mine, expected in zip(reports, one.reports, strict=True):
                assert mine == pytest.approx(expected, rel=1e-8), name
            for tensor, other in zip(weights.values(), final_weights(one).values(), strict=True):
                torch.testing.assert_close(tensor, other, rtol=1e-7, atol=1e-8)


@pytest.mark.usefixtures("synthetic")
def test_a_batch_with_fewer_events_than_ranks_is_refused() -> None:
    trial = StubTrial({"batch_size": 2})
    trial.world_size = 3
    with pytest.raises(SpaceError, match="batch_size=2 must be at least the number of ranks, 3"):
        objective(trial)


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
    shares = [share(events, batch, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert sorted(torch.cat(shares).tolist()) == sorted(batch.tolist())
    assert all(len(part) > 0 for part in shares)
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
    data = load_dataset("sample", 20, 0.25, 0)
    assert len(data.train.counts) == 15
    assert len(data.validation.counts) == 5
    assert load_dataset("sample", 20, 0.25, 0) is data
    other = load_dataset("sample", 20, 0.25, 1)
    assert not np.array_equal(other.validation.counts, data.validation.counts)


def test_more_events_than_there_are_is_refused() -> None:
    with pytest.raises(SpaceError, match="events=10000000 must be 0"):
        load_dataset("sample", 10_000_000, 0.25, 0)


@pytest.mark.skipif(not REAL_EVENTS.is_file(), reason=f"needs {REAL_EVENTS}")
def test_on_real_events_it_beats_guessing_and_the_learning_rate_matters() -> None:
    common = {"data": str(REAL_EVENTS), "events": 100, "output_dim": 16, "batch_size": 4}
    good, poor = (StubTrial(common | {"lr": lr}, epochs=3) for lr in (5e-3, 1e-6))
    objective(good)
    objective(poor)
    assert good.reports[-1]["val_accuracy"] > 0.5  # guessing one class: 1/6
    assert good.reports[-1]["val_loss"] < 0.5 * poor.reports[-1]["val_loss"]
