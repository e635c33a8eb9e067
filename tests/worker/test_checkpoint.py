"""A checkpoint is whole or it is not there; what it brings back is what was taken."""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections import Counter, OrderedDict, deque
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from daskhpo.exceptions import CheckpointError
from daskhpo.worker.checkpoint import (
    Checkpoint,
    Checkpoints,
    capture,
    capture_rng,
    restore,
    restore_rng,
)


def checkpoint_at(step, **states):
    return Checkpoint(step, ((step, {"loss": 1.0}),), states, ())


def files(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


# ---------------------------------------------------------------------- whole, or not there

WRITER = """
import os, sys
import numpy as np
from daskhpo.worker.checkpoint import Checkpoint, Checkpoints

store = Checkpoints(sys.argv[1], attempt=int(sys.argv[2]))
first = store.load()
step = first.step if first else 0
while True:
    step += 1
    ballast = np.full(100_000 + step, step)
    store.save(Checkpoint(step, (), {"ballast": ballast}, ()))
    os.write(1, b"%d\\n" % step)  # the acknowledgement
"""


def test_a_killed_writer_leaves_what_it_had_acknowledged_or_something_newer(tmp_path):
    rng = random.Random(5)
    acknowledged = 0
    for attempt in range(8):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(attempt)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE)
        first = writer.stdout.readline()  # it has begun
        time.sleep(rng.uniform(0.0, 0.03))
        writer.send_signal(signal.SIGKILL)
        lines = (first + writer.stdout.read()).split(b"\n")
        writer.stdout.close()
        writer.wait()
        assert int(lines[0]) > acknowledged
        acknowledged = int(lines[-2])
        found = Checkpoints(tmp_path, attempt=attempt).load()
        assert found.step in (acknowledged, acknowledged + 1)
        assert (found.states["ballast"] == found.step).all()
    survivor = Checkpoints(tmp_path, attempt=8)
    survivor.save(checkpoint_at(acknowledged + 2))
    assert files(tmp_path) == [f"a8/step-{acknowledged + 2:06d}.ckpt"]


def test_the_newest_step_of_any_earlier_attempt_is_loaded(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for attempt, step in [(0, 4), (2, 3), (10, 5)]:
        Checkpoints(tmp_path / "elsewhere", attempt=attempt).save(checkpoint_at(step))
        place = tmp_path / f"a{attempt}"
        (tmp_path / "elsewhere" / f"a{attempt}").rename(place)
    assert Checkpoints(tmp_path, attempt=3).load().step == 4
    assert Checkpoints(tmp_path, attempt=10).load().step == 5


def test_only_one_checkpoint_is_kept_over_all_attempts(tmp_path):
    for attempt, step in [(0, 1), (0, 3), (1, 9), (3, 27)]:
        Checkpoints(tmp_path, attempt=attempt).save(checkpoint_at(step))
        assert files(tmp_path) == [f"a{attempt}/step-{step:06d}.ckpt"]


def test_an_older_attempt_that_is_still_alive_does_not_touch_those_of_newer_ones(tmp_path):
    Checkpoints(tmp_path, attempt=1).save(checkpoint_at(5))
    older = Checkpoints(tmp_path, attempt=0)
    older.save(checkpoint_at(4))
    older.clear()
    assert files(tmp_path) == ["a1/step-000005.ckpt"]


def test_clearing_leaves_no_checkpoint_and_nothing_to_load(tmp_path):
    store = Checkpoints(tmp_path, attempt=1)
    Checkpoints(tmp_path, attempt=0).save(checkpoint_at(4))
    store.save(checkpoint_at(5))
    store.clear()
    assert files(tmp_path) == []
    assert store.load() is None


def test_a_trial_without_a_directory_has_no_checkpoint(tmp_path):
    store = Checkpoints(tmp_path / "never", attempt=0)
    assert store.load() is None
    store.clear()
    assert not (tmp_path / "never").exists()


# ---------------------------------------------------------------------- damage

DAMAGES = {
    "empty": lambda whole: b"",
    "only a header": lambda whole: whole.split(b"\n")[0] + b"\n",
    "cut in the header": lambda whole: whole[:12],
    "cut in the middle": lambda whole: whole[: len(whole) // 2],
    "cut by one byte": lambda whole: whole[:-1],
    "too long": lambda whole: whole + b"\0",
    "one bit turned": lambda whole: whole[:-9] + bytes([whole[-9] ^ 4]) + whole[-8:],
    "of another version": lambda whole: whole.replace(b"checkpoint 1 ", b"checkpoint 2 ", 1),
    "a checksum that is no number": lambda whole: b"daskhpo-checkpoint 1 zz zz\n" + whole,
    "foreign text": lambda whole: b"epoch 9 of somebody's own format\n" * 9,
    "foreign bytes": lambda whole: bytes(range(256)) * 9,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path, caplog, damage):
    Checkpoints(tmp_path / "x", attempt=1).save(checkpoint_at(9))
    whole = tmp_path / "x" / "a1" / "step-000009.ckpt"
    Checkpoints(tmp_path, attempt=0).save(checkpoint_at(3))
    (tmp_path / "a1").mkdir()
    (tmp_path / "a1" / whole.name).write_bytes(DAMAGES[damage](whole.read_bytes()))
    assert Checkpoints(tmp_path, attempt=2).load().step == 3
    assert "a1/step-000009.ckpt is passed over" in caplog.text


def test_a_whole_checkpoint_of_code_that_is_gone_is_passed_over_with_a_warning(tmp_path, caplog):
    Checkpoints(tmp_path, attempt=0).save(checkpoint_at(3))
    Checkpoints(tmp_path / "x", attempt=1).save(checkpoint_at(9, thing=Gone()))
    (tmp_path / "x" / "a1").rename(tmp_path / "a1")
    assert Checkpoints(tmp_path, attempt=1).load().step == 3
    assert "no module that never was" in caplog.text


class Gone:
    def __reduce__(self):
        return exec, ("raise ImportError('no module that never was')",)


def test_files_of_other_names_are_none_of_its_business(tmp_path):
    for name in (
        "a0/model.ckpt",
        "a0/step-last.ckpt",
        "best/step-000009.ckpt",
        "attic/step-1.tmp-x",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"the user's own")
    before = files(tmp_path)
    store = Checkpoints(tmp_path, attempt=1)
    assert store.load() is None
    store.save(checkpoint_at(1))
    store.clear()
    assert files(tmp_path) == before


def test_a_disk_that_is_full_leaves_the_checkpoint_before(tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("needs the mount command, for a disk of 64 kB")
    if mounted.returncode:
        pytest.skip(f"may not mount a disk of 64 kB here: {mounted.stderr.strip()}")
    try:
        store = Checkpoints(place, attempt=0)
        store.save(checkpoint_at(3, weights=np.arange(100)))
        before = files(place)
        with pytest.raises(
            CheckpointError, match=r"step-000004.ckpt cannot be written.*[Nn]o space"
        ):
            store.save(checkpoint_at(4, weights=np.arange(100_000)))
        assert files(place) == before
        assert store.load().step == 3
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_place_that_cannot_be_written_is_an_error_that_names_it(tmp_path):
    (tmp_path / "a0").write_text("a file in the way")
    with pytest.raises(CheckpointError, match=r"a0/step-000003.ckpt cannot be written"):
        Checkpoints(tmp_path, attempt=0).save(checkpoint_at(3))


# ---------------------------------------------------------------------- payloads


def test_without_torch_a_checkpoint_is_a_plain_pickle(tmp_path, monkeypatch):
    store = Checkpoints(tmp_path, attempt=0)
    monkeypatch.delitem(sys.modules, "torch")
    store.save(checkpoint_at(3, weights=np.arange(4), note="é"))
    header, payload = (tmp_path / "a0" / "step-000003.ckpt").read_bytes().split(b"\n", 1)
    assert header.startswith(b"daskhpo-checkpoint 1 ")
    assert pickle.loads(payload)["step"] == 3
    found = store.load()
    assert found.reports == ((3, {"loss": 1.0}),)
    assert found.states["note"] == "é"
    assert found.states["weights"].tolist() == [0, 1, 2, 3]
    assert "torch" not in sys.modules


def test_with_torch_tensors_come_back_bit_by_bit(tmp_path):
    store = Checkpoints(tmp_path, attempt=0)
    weights = torch.randn(5, dtype=torch.bfloat16)
    store.save(checkpoint_at(3, weights=weights))
    assert torch.equal(store.load().states["weights"], weights)


@pytest.mark.parametrize("with_torch", [True, False])
def test_what_cannot_be_pickled_is_named_and_leaves_the_checkpoint_before(
    tmp_path, monkeypatch, with_torch
):
    if not with_torch:
        monkeypatch.delitem(sys.modules, "torch")
    store = Checkpoints(tmp_path, attempt=0)
    store.save(checkpoint_at(3))
    with open(os.devnull) as stream:
        for culprit in (stream, lambda: None, (number for number in range(3))):
            with pytest.raises(CheckpointError, match=r"^'data' cannot be pickled"):
                store.save(checkpoint_at(4, weights=[1, 2], data={"source": culprit}))
    assert files(tmp_path) == ["a0/step-000003.ckpt"]


# ---------------------------------------------------------------------- random numbers


def draws():
    return (
        [random.random(), random.gauss(0, 1)],
        np.random.normal(size=3).tolist(),  # noqa: NPY002
        torch.randn(3).tolist(),
    )


def test_every_generator_goes_on_where_it_was(tmp_path):
    draws()  # an odd number of normal draws leaves half a pair behind, which counts too
    store = Checkpoints(tmp_path, attempt=0)
    store.save(Checkpoint(3, (), {}, (capture_rng(),)))
    expected = [draws(), draws()]
    restore_rng(store.load().rng[0])
    assert [draws(), draws()] == expected


def test_generators_go_on_without_torch(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    state = capture_rng()
    assert sorted(state) == ["numpy", "python"]
    expected = random.random()
    restore_rng(state)
    assert random.random() == expected


class Training:
    """A tiny model with dropout, momentum, a schedule and shuffled data."""

    def __init__(self, seed):
        torch.manual_seed(seed)
        self.model = torch.nn.Sequential(
            torch.nn.Linear(4, 8),
            torch.nn.BatchNorm1d(8),
            torch.nn.Dropout(0.3),
            torch.nn.Linear(8, 1),
        )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=6)

    @property
    def parts(self):
        return {"model": self.model, "optimizer": self.optimizer, "schedule": self.schedule}

    def step(self):
        inputs = torch.randn(16, 4)
        loss = (self.model(inputs) - inputs.sum(1, keepdim=True)).pow(2).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return loss.item()


def test_restored_training_goes_on_bit_by_bit(tmp_path):
    straight = Training(seed=1)
    expected = [straight.step() for _ in range(6)]

    first = Training(seed=1)
    losses = [first.step() for _ in range(3)]
    states = {name: capture(name, part) for name, part in first.parts.items()}
    Checkpoints(tmp_path, attempt=0).save(Checkpoint(3, (), states, (capture_rng(),)))

    second = Training(seed=2)
    found = Checkpoints(tmp_path, attempt=1).load()
    for name, part in second.parts.items():
        restore(name, part, found.states[name])
    restore_rng(found.rng[0])
    assert losses + [second.step() for _ in range(3)] == expected
    for name, weight in straight.model.state_dict().items():
        assert torch.equal(weight, second.model.state_dict()[name]), name


# ---------------------------------------------------------------------- capture and restore


class Counting:
    def __init__(self, seen):
        self.seen = seen


def advanced(generator, draw):
    draw(generator)
    return generator


THINGS = {  # {kind: (make it anew, make it as it was when it was kept)}
    "dict": (lambda: {"b": 2}, lambda: {"a": 1}),
    "ordered dict": (lambda: OrderedDict(b=2), lambda: OrderedDict(z=1, a=2)),
    "counter": (Counter, lambda: Counter("abba")),
    "list": (lambda: [9], lambda: [1, [2, 3]]),
    "set": (lambda: {9}, lambda: {1, 2}),
    "bytearray": (bytearray, lambda: bytearray(b"kept")),
    "deque": (deque, lambda: deque([1, 2])),
    "array": (lambda: np.zeros((2, 3)), lambda: np.arange(6.0).reshape(2, 3)),
    "array of no dimension": (lambda: np.array(0.0), lambda: np.array(7.0)),
    "tensor": (lambda: torch.zeros(3), lambda: torch.arange(3.0)),
    "parameter": (
        lambda: torch.nn.Parameter(torch.zeros(3)),
        lambda: torch.nn.Parameter(torch.arange(3.0)),
    ),
    "plain object": (lambda: Counting([]), lambda: Counting([1, 2])),
    "namespace": (SimpleNamespace, lambda: SimpleNamespace(epoch=3)),
    "module": (lambda: torch.nn.Linear(2, 2), lambda: torch.nn.Linear(2, 2)),
    "numpy Generator": (
        lambda: np.random.default_rng(1),
        lambda: advanced(np.random.default_rng(2), lambda rng: rng.random(5)),
    ),
    "numpy RandomState": (
        lambda: np.random.RandomState(1),
        lambda: advanced(np.random.RandomState(2), lambda rng: rng.normal()),
    ),
    "python Random": (
        lambda: random.Random(1),
        lambda: advanced(random.Random(2), lambda rng: rng.gauss(0, 1)),
    ),
    "torch Generator": (
        lambda: torch.Generator().manual_seed(1),
        lambda: advanced(
            torch.Generator().manual_seed(2), lambda rng: torch.randn(5, generator=rng)
        ),
    ),
}


def seen_from_outside(thing):
    """All that one can tell of a thing: two that agree in it are equal."""
    if isinstance(thing, torch.Tensor):
        return thing.tolist()
    if isinstance(thing, torch.Generator):
        return torch.randn(3, generator=thing).tolist()
    if isinstance(thing, torch.nn.Module):
        return [p.tolist() for p in thing.parameters()]
    if isinstance(thing, random.Random):
        return [thing.gauss(0, 1), thing.random()]
    if isinstance(thing, np.random.Generator | np.random.RandomState):
        return thing.normal(size=3).tolist()
    if isinstance(thing, np.ndarray):
        return thing.tolist()
    return list(thing.items()) if isinstance(thing, dict) else getattr(thing, "__dict__", thing)


@pytest.mark.parametrize("kind", THINGS)
def test_things_come_back_in_place(tmp_path, kind):
    anew, kept = THINGS[kind]
    thing, other = kept(), anew()
    Checkpoints(tmp_path, attempt=0).save(checkpoint_at(1, thing=capture("thing", thing)))
    restore("thing", other, Checkpoints(tmp_path, attempt=0).load().states["thing"])
    assert seen_from_outside(other) == seen_from_outside(thing)
    assert type(other) is type(thing)


class Slotted:
    __slots__ = ("weight",)


@pytest.mark.parametrize(
    "thing",
    [3, 0.1, "text", b"bytes", (1, 2), None, lambda: 1, len, Counting, Slotted(), np.float64(1)],
)
def test_what_cannot_be_restored_in_place_is_refused_by_name(thing):
    with pytest.raises(
        CheckpointError, match=r"trial\.steps\(counter=\.\.\.\).*cannot be restored"
    ):
        capture("counter", thing)


MISFITS = {
    "another shape": (np.zeros(3), np.zeros(4)),
    "a shape that numpy would stretch": (np.zeros(3), np.ones(1)),
    "floats for integers": (np.zeros(3, dtype=int), np.full(3, 0.5)),
    "a tensor of another shape": (torch.zeros(3), torch.zeros(4)),
    "a tensor that torch would stretch": (torch.zeros(3), torch.ones(1)),
    "another layer": (torch.nn.Linear(2, 2), torch.nn.Linear(2, 3).state_dict()),
    "no module at all": (torch.nn.Linear(2, 2), [1, 2]),
    "another generator": (np.random.default_rng(), np.random.MT19937().state),
    "not a generator": (np.random.default_rng(), {}),
    "a number for a dict": ({}, 3),
    "a number for a list": ([], 3),
    "a dict for a list": ([], {"a": 1}),
    "a list for an object": (Counting(1), [1, 2]),
}


@pytest.mark.parametrize("kind", MISFITS)
def test_a_state_that_does_not_fit_is_an_error_that_names_the_object(kind):
    thing, state = MISFITS[kind]
    with pytest.raises(CheckpointError, match="the checkpoint of 'weights' does not fit"):
        restore("weights", thing, state)


def test_a_dict_that_does_not_fit_keeps_what_it_had():
    kept = {"a": 1}
    with pytest.raises(CheckpointError):
        restore("kept", kept, 3)
    assert kept == {"a": 1}


def test_a_checkpoint_of_a_later_step_is_never_pruned_for_an_earlier_one(tmp_path):
    """A job that is superseded, and comes late, must not cost the trial what it has."""
    store = Checkpoints(tmp_path, attempt=0)
    store.save(checkpoint_at(5))
    store.save(checkpoint_at(3))
    assert store.load().step == 5
