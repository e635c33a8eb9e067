"""A broken machine is found before a trial has to suffer from it."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest
import rank_objectives

from daskhpo.exceptions import BrokenNode
from daskhpo.trial import Outcome
from daskhpo.worker import probe
from daskhpo.worker.barracks import Barracks
from daskhpo.worker.probe import Checkup, check_devices, suspicious
from daskhpo.worker.ranks import perform_in_ranks
from daskhpo.worker.work import Seat


def torch_that_sees(gpus):
    """A build for CUDA on a machine whose driver shows so many GPUs."""
    cuda = SimpleNamespace(device_count=lambda: gpus, get_device_name=lambda i: f"card {i}")
    version = SimpleNamespace(cuda="12.8", hip=None)
    distributed = SimpleNamespace(is_nccl_available=lambda: True)
    return SimpleNamespace(__version__="2.0", cuda=cuda, version=version, distributed=distributed)


@pytest.fixture
def examine(monkeypatch, capsys):
    """Run the probe: ``examine(gpus, torch)`` gives its exit code and what it printed."""

    def run(gpus, torch, named="4,5", products=(), total=True):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        monkeypatch.setitem(sys.modules, "torch", torch)
        monkeypatch.setattr(probe, "_multiplies", lambda torch, i: i not in products)
        monkeypatch.setattr(probe, "_adds_up", lambda torch, gpus: total)
        code = probe.main(["--gpus", str(gpus)])
        return code, json.loads(capsys.readouterr().out)

    return run


def test_gpus_that_compute_pass(examine):
    code, found = examine(2, torch_that_sees(2))
    assert (code, "error" in found) == (0, False)
    assert found["devices"] == ["4", "5"]
    assert found["nccl"]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"named": "4"}, "2 GPUs are needed, the environment names 1: 4"),
        ({"torch": torch_that_sees(1)}, "torch sees 1 of 2"),
        ({"torch": torch_that_sees(0)}, "torch sees 0 of 2"),
        ({"products": (1,)}, "wrong products on GPU 5"),
        ({"total": False}, "a wrong sum over 2 GPUs"),
    ],
)
def test_those_that_do_not_are_named(examine, setting, words):
    code, found = examine(2, **{"torch": torch_that_sees(2)} | setting)
    assert code == 1
    assert words in found["error"]


def test_whatever_a_driver_raises_is_the_answer(examine):
    torch = torch_that_sees(2)
    torch.cuda.device_count = lambda: 1 / 0
    assert examine(2, torch)[1]["error"].startswith("ZeroDivisionError")


def test_a_torch_without_gpus_leaves_the_names_to_count(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    assert check_devices(("0", "1"), 2) == ""
    assert "the environment names 1: 2" in check_devices(("2",), 2)


def test_a_sites_own_check_sees_the_devices_and_says_what_is_wrong(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    assert check_devices(("5",), 1, 'test "$CUDA_VISIBLE_DEVICES" = 5') == ""
    assert "exit code 3: the fan is off" in check_devices((), 0, "echo the fan is off; exit 3")
    slow = check_devices((), 0, "echo wait; sleep 600", patience=0.2)
    assert "did not end within 0.2 s: wait" in slow


@pytest.fixture
def counted(tmp_path):
    """A check that counts how often it is made, and fails from a given time on."""
    log = tmp_path / "checks"

    def command(good=100):
        return f"echo x >> {log}; test $(wc -l < {log}) -le {good} || {{ echo broken; exit 1; }}"

    return command, lambda: len(log.read_text().split())


def test_each_set_of_devices_is_checked_once_and_again_when_in_doubt(counted):
    command, checks = counted
    checkup = Checkup(command(good=3))
    for _ in range(2):
        checkup.assure(("0",), 1)
    assert checks() == 1
    checkup.assure(("1",), 1)
    checkup.doubt(("0",), 1, "ValueError: shapes")
    assert checks() == 2
    checkup.doubt(("0",), 1, "uncorrectable ECC error")
    assert checks() == 3
    with pytest.raises(BrokenNode, match="broken"):
        checkup.doubt(("0",), 1, "CUDA error: unspecified launch failure")


@pytest.mark.parametrize(
    ("error", "machine"),
    [
        ("CUDA error: an illegal memory access was encountered", True),
        ("no CUDA-capable device is detected", True),
        ("NCCL error in: ... unhandled system error, NCCL version 2.27", True),
        ("uncorrectable NVLink error", True),
        ("CUDA error: device-side assert triggered", False),
        ("CUDA out of memory. Tried to allocate 2 GiB; CUDA error", False),
        ("ValueError: on purpose", False),
    ],
)
def test_only_what_a_machine_may_have_done_makes_it_suspect(error, machine):
    assert suspicious(error) is machine


def test_no_rank_is_started_on_a_broken_machine(stay, tmp_path):
    one = stay(rank_objectives.pids, isolate=True)
    with (
        Barracks(check="echo no light; exit 1") as barracks,
        pytest.raises(BrokenNode, match="no light"),
    ):
        perform_in_ranks(one.work, one.job, one.tape, Seat(), barracks)
    assert not (tmp_path / "trials").exists()


def test_a_failure_that_the_machine_may_have_caused_is_its_fault_only_if_it_is_broken(
    stay, counted
):
    command, checks = counted
    one = stay(rank_objectives.meets_a_broken_gpu, isolate=True)
    with Barracks(check=command(good=2)) as barracks:
        ending = perform_in_ranks(one.work, one.job, one.tape, Seat(), barracks)
        assert ending.outcome is Outcome.FAILED
        assert checks() == 2
        with pytest.raises(BrokenNode, match="broken"):
            perform_in_ranks(one.work, one.job, one.tape, Seat(), barracks)
