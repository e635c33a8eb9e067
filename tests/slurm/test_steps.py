"""Workers as steps of one allocation, on a real Slurm of virtual nodes."""

import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.kills, pytest.mark.slurm]

DRIVER = """
import json, os, signal, subprocess, sys, time
from pathlib import Path
from daskhpo.cluster.batch import Phase, SubmitError
from daskhpo.cluster.steps import Steps

HERE = Path(sys.argv[1])
TOLD = {}
SCRIPT = '''
trap 'echo ended > HERE/$DASKHPO_BATCH.ended; exit 143' TERM
env > HERE/$DASKHPO_BATCH.env
echo $$ > HERE/$DASKHPO_BATCH.pid
while true; do sleep 0.05; done
'''.replace("HERE", str(HERE))


def until(ready, seconds=40):
    deadline = time.monotonic() + seconds
    while not (told := ready()):
        if time.monotonic() > deadline:
            raise TimeoutError(ready.__code__.co_firstlineno)
        time.sleep(0.05)
    return told


def started(*ids):
    until(lambda: all((HERE / f"{id}.pid").exists() for id in ids))


def pid(id):
    return int(until(lambda: (HERE / f"{id}.pid").read_text().strip()))


def over(id):
    return until(lambda: (job := steps.jobs([id])[id]).phase is Phase.ENDED and job)


def gone(id):
    return until(lambda: id not in steps.jobs())


def steps_now():
    command = ["squeue", "--steps", "-h", "-j", os.environ["SLURM_JOB_ID"], "-o", "%j"]
    return subprocess.run(command, capture_output=True, text=True).stdout.split()


steps = Steps("hpo-a1b2", directory=HERE)
"""


def told_by(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def allocation(slurm: Any, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs Python in a batch job of some nodes; returns what it has put into ``TOLD``."""

    def run(code: str, *options: str) -> dict[str, Any]:
        driver = tmp_path / "driver.py"
        driver.write_text(
            DRIVER + textwrap.dedent(code) + '\n(HERE / "told.json").write_text(json.dumps(TOLD))\n'
        )
        script = tmp_path / "allocation.sh"
        script.write_text(f"#!/bin/bash\nexec {sys.executable} {driver} {tmp_path}\n")
        log = tmp_path / "allocation.log"
        options = (
            "--no-kill",
            "--no-requeue",
            "--nodes=3",
            "--ntasks-per-node=1",
            "--cpus-per-task=2",
            "--mem-per-cpu=100",
            "--time=10",
            f"--output={log}",
            f"--export=ALL,PYTHONPATH={Path(__file__).parents[2]}",
            *options,
        )
        job = told_by("sbatch", "--parsable", *options, str(script)).strip()
        deadline = time.monotonic() + 120
        while told_by("squeue", "--noheader", "--jobs", job) and time.monotonic() < deadline:
            time.sleep(0.1)
        told = tmp_path / "told.json"
        assert told.exists(), log.read_text()
        return json.loads(told.read_text())  # type: ignore[no-any-return]

    return run


def test_each_node_gets_one_worker_with_all_its_gpus_and_dead_ones_are_replaced(
    allocation: Callable[..., dict[str, Any]],
) -> None:
    told = allocation(
        """
        ids = [steps.submit(SCRIPT) for _ in range(3)]
        started(*ids)
        running = steps.jobs()
        TOLD["nodes"] = sorted(job.nodes for job in running.values())
        TOLD["gpus"] = [job.gpus for job in running.values()]
        TOLD["cpus"] = [job.cpus for job in running.values()]
        TOLD["left"] = min(job.ends for job in running.values()) - time.time()
        TOLD["visible"] = [
            line.partition("=")[2]
            for id in ids
            for line in (HERE / f"{id}.env").read_text().splitlines()
            if line.startswith("CUDA_VISIBLE_DEVICES=")
        ]
        try:
            steps.submit(SCRIPT)
        except SubmitError as error:
            TOLD["full"], TOLD["final"] = str(error), error.final
        os.kill(pid(ids[1]), signal.SIGKILL)
        dead = over(ids[1])
        TOLD["dead"] = [dead.state, dead.blame.value, dead.reason, dead.nodes]
        again = steps.submit(SCRIPT)
        started(again)
        TOLD["again"] = [ids[1], again, steps.jobs()[again].nodes]
        TOLD["before"] = sorted(steps_now())
        began = time.monotonic()
        steps.cancel([ids[0], ids[2], again])
        TOLD["ended"] = [over(id).state for id in (ids[0], ids[2], again)]
        TOLD["asked"] = [(HERE / f"{id}.ended").exists() for id in (ids[0], ids[2], again)]
        TOLD["after"] = steps_now()
        """,
        "--gpus-per-node=4",
    )
    assert len(set(told["nodes"])) == 3
    assert told["gpus"] == [4, 4, 4]
    assert told["cpus"] == [2, 2, 2]
    assert 400 < told["left"] <= 600
    assert told["visible"] == ["0,1,2,3"] * 3
    assert "has no free node: 3 of 3" in told["full"]
    assert told["final"] is False
    state, blame, reason, node = told["dead"]
    assert (state, blame) == ("FAILED", "unknown")
    assert "Killed" in reason
    killed, again, place = told["again"]
    assert place == node
    assert again != killed
    assert len(told["before"]) == 4  # three workers, one of them the second on its node; the batch
    assert told["ended"] == ["CANCELLED"] * 3
    assert told["asked"] == [True] * 3
    assert [name for name in told["after"] if name.startswith("hpo-")] == []


def test_the_allocation_outlives_a_node_and_does_not_use_it_again(
    allocation: Callable[..., dict[str, Any]],
) -> None:
    told = allocation(
        """
        ids = [steps.submit(SCRIPT) for _ in range(3)]
        started(*ids)
        lost = ids[2]
        node = steps.jobs()[lost].nodes
        subprocess.run(
            ["scontrol", "update", f"nodename={node}", "state=down", "reason=test"], check=True
        )
        end = over(lost)
        TOLD["end"] = [end.state, end.blame.value]
        back = ["sinfo", "-h", "-n", node, "-o", "%T"]
        until(lambda: "down" not in subprocess.run(back, capture_output=True, text=True).stdout)
        TOLD["alive"] = len(steps.jobs())
        try:
            steps.submit(SCRIPT)
        except SubmitError as error:
            TOLD["refused"], TOLD["final"] = str(error), error.final
        steps.cancel(ids)
        """
    )
    assert told["end"] == ["NODE_FAIL", "system"]
    assert told["alive"] == 2
    assert "1 are down" in told["refused"]
    assert told["final"] is False


def test_a_later_driver_of_the_allocation_takes_over_what_an_earlier_one_has_left(
    allocation: Callable[..., dict[str, Any]],
) -> None:
    told = allocation(
        """
        first = steps.submit(SCRIPT)
        started(first)
        steps = Steps("hpo-a1b2", directory=HERE)  # as after kill -9
        TOLD["adopted"] = {id: job.nodes for id, job in steps.jobs().items()}
        second = steps.submit(SCRIPT)
        started(second)
        TOLD["ids"] = [first, second]
        TOLD["nodes"] = [steps.jobs()[id].nodes for id in (first, second)]
        os.kill(pid(first), signal.SIGTERM)
        gone(first)
        third = steps.submit(SCRIPT)
        TOLD["third"] = third
        steps.cancel([second, third])
        """
    )
    first, second = told["ids"]
    assert list(told["adopted"]) == [first]
    assert len({first, second, told["third"]}) == 3
    assert len(set(told["nodes"])) == 2


def test_a_step_that_slurm_refuses_says_why(allocation: Callable[..., dict[str, Any]]) -> None:
    told = allocation(
        """
        steps._allocation.shares = {
            node: type(share)(share.cpus + 100, share.gpus)
            for node, share in steps._allocation.shares.items()
        }
        end = over(steps.submit(SCRIPT))
        TOLD["end"] = [end.state, end.reason]
        """
    )
    state, reason = told["end"]
    assert state == "FAILED"
    assert "Unable to create step" in reason or "not available" in reason
