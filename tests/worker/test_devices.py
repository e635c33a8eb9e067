"""GPUs keep the names that the batch system gave them, and no two trials share one."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.exceptions import BrokenNode
from daskhpo.worker import devices
from daskhpo.worker.devices import Slots, narrow, visible_devices

UUIDS = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6,GPU-1b5e"
MIG = "MIG-GPU-8932f937/1/0,MIG-41b35014-ab8c-5bb7"


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("0,1", ("0", "1")),
        (" 3, 1 ", ("3", "1")),
        (UUIDS, tuple(UUIDS.split(","))),
        (MIG, tuple(MIG.split(","))),
        ("", ()),
        ("-1", ()),
        ("NoDevFiles", ()),
        ("2,-1,3", ("2",)),
    ],
)
@pytest.mark.parametrize("variable", ["CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"])
def test_the_names_are_those_of_the_environment(variable, value, names):
    assert visible_devices({variable: value}) == names


def test_what_torch_obeys_counts():
    both = {"ROCR_VISIBLE_DEVICES": "0,1", "CUDA_VISIBLE_DEVICES": "5", "HIP_VISIBLE_DEVICES": "7"}
    assert visible_devices(both) == ("5",)


@pytest.mark.parametrize(("maker", "count"), [("_NVIDIA", 2), ("_AMD", 1)])
def test_without_a_word_about_it_everything_installed_is_visible(
    tmp_path, monkeypatch, maker, count
):
    nodes = tmp_path / "nodes"
    for name, gpu in (("0", "0"), ("1", "4711")):
        (nodes / name).mkdir(parents=True)
        (nodes / name / "gpu_id").write_text(f"{gpu}\n")
    for name in ("_NVIDIA", "_AMD"):
        monkeypatch.setattr(devices, name, nodes if name == maker else tmp_path / "none")
    assert visible_devices({}) == tuple(map(str, range(count)))


def test_narrowing_passes_names_on_verbatim_and_leaves_the_rest():
    environ = {"CUDA_VISIBLE_DEVICES": MIG, "HOME": "/"}
    name = MIG.split(",")[1]
    assert narrow(environ, [name]) == {"CUDA_VISIBLE_DEVICES": name, "HOME": "/"}
    assert narrow(environ, MIG.split(",")) == environ
    assert narrow(environ, []) == environ


def test_narrowing_keeps_one_variable_where_each_would_count_within_the_other():
    environ = {"ROCR_VISIBLE_DEVICES": "4,5", "HIP_VISIBLE_DEVICES": "0,1"}
    assert narrow(environ, ["5"]) == {"ROCR_VISIBLE_DEVICES": "5"}


@given(st.integers(0, 16), st.integers(0, 4), st.integers(1, 8))
def test_no_two_trials_have_a_gpu_in_common(installed, per_trial, trials):
    names = tuple(f"GPU-{i}" for i in range(installed))
    slots = Slots(names, per_trial, trials)
    if per_trial > installed:
        with pytest.raises(BrokenNode, match=f"needs {per_trial} GPUs"):
            slots.take()
        return
    together = min(trials, installed // per_trial) if per_trial else trials
    taken = [slots.take() for _ in range(together)]
    given_out = [name for share in taken for name in share]
    assert set(given_out) <= set(names)
    assert all(len(share) == per_trial for share in taken) or per_trial == 0
    if per_trial or installed >= trials:
        assert len(given_out) == len(set(given_out))


def test_who_comes_too_early_waits_for_what_another_gives_back():
    slots = Slots(("a", "b"), per_trial=2, trials=2)
    first, second = slots.take(), []
    waiting = threading.Thread(target=lambda: second.append(slots.take()))
    waiting.start()
    assert not second
    slots.give(first)
    waiting.join()
    assert second == [("a", "b")]


def test_what_was_given_back_last_is_taken_first():
    slots = Slots(("a", "b", "c"), per_trial=1, trials=3)
    first, _ = slots.take(), slots.take()
    slots.give(first)
    assert slots.take() == first


def test_a_trial_in_the_workers_own_process_counts_among_all_of_its_gpus(monkeypatch):
    monkeypatch.setattr(devices, "pick_device", lambda index: f"cuda:{index}")
    slots = Slots(("4", "5", "6", "7"), per_trial=2, trials=2)
    assert [slots.device(slots.take()) for _ in range(2)] == ["", "cuda:2"]
    assert Slots((), 0, 1).device(()) == ""
