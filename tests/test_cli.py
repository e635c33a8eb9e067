"""The command line does what its help says, from any directory, and ends with the right code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from daskhpo import ASHA, Float, Space, Tuner
from daskhpo.cli import main
from daskhpo.exceptions import DaskhpoError
from daskhpo.store.directory import CampaignDirectory

MODULE = """
import time

def objective(trial):
    for epoch in trial.steps():
        trial.report(loss=(trial.params["x"] - 0.3) ** 2 + 1 / epoch)

def slow(trial):
    for epoch in trial.steps(state={}):
        time.sleep(0.1)
        trial.report(loss=trial.params["x"] + 1 / epoch)

def broken(trial):
    raise ValueError("no such data file")

number = 3
"""
CAMPAIGN = {
    "objective": "objectives:objective",
    "metric": "loss",
    "space": {"x": {"type": "float", "low": 0, "high": 1}},
    "scheduler": {"type": "asha", "max_step": 9, "eta": 3},
    "sampler": "random",
    "budget": {"trials": 9},
    "workers": {"count": 1},
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A user's directory with an objective and campaign files, as the working directory."""
    (tmp_path / "objectives.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "objectives", raising=False)

    def write(name="first.yaml", **settings):
        given = {k: v for k, v in (CAMPAIGN | settings).items() if v is not None}
        (tmp_path / name).write_text(yaml.safe_dump(given, sort_keys=False), encoding="utf-8")
        return name

    write()
    yield write
    sys.modules.pop("objectives", None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished campaign; not to be changed."""

    def objective(trial):
        for epoch in trial.steps():
            trial.report(loss=(trial.params["x"] - 0.3) ** 2 + 1 / epoch, accuracy=0.5)

    path = tmp_path_factory.mktemp("runs") / "first"
    scheduler = ASHA(max_step=9, eta=3)
    space = Space(x=Float(0, 1))
    Tuner(objective, space, metric="loss", scheduler=scheduler, sampler="random", path=path).debug(
        trials=9
    )
    return path


@pytest.fixture
def campaign(finished, tmp_path, monkeypatch):
    """A copy of the finished campaign, at a relative path."""
    shutil.copytree(finished, tmp_path / "runs" / "first")
    monkeypatch.chdir(tmp_path)
    return Path("runs/first")


def call(*arguments, code=0):
    """Run a command and insist on its exit code; returns what click recorded."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    crash = result.exception
    if crash is not None and not isinstance(crash, SystemExit):
        raise crash
    assert result.exit_code == code, result.output
    return result


def commands(group, *path):
    """Every command with the words that lead to it."""
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)


# ---------------------------------------------------------------------- all commands


@pytest.mark.parametrize("words", [words for words, _ in commands(main)], ids=" ".join)
def test_every_command_has_an_example_in_its_help(words):
    assert f"daskhpo {' '.join(words)}" in call(*words, "--help").output.split("Example:")[1]


def test_every_command_that_prints_has_json():
    for words, command in commands(main):
        if not isinstance(command, click.Group):
            assert "--json" in [name for option in command.params for name in option.opts], words


def test_help_is_light():
    code = (
        "import sys; from daskhpo.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = ('torch', 'distributed', 'dask', 'zarr', 'xarray', 'pandas', 'skopt', 'sklearn')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_unknown_command_is_answered_with_the_nearest():
    assert "status" in call("stats", code=2).output


@pytest.mark.parametrize("verb", ["status", "best", "resume", "verify", "rebuild"])
def test_a_directory_without_a_campaign_is_a_wrong_call(verb, tmp_path):
    assert "there is no campaign at" in call(verb, tmp_path / "nowhere", code=2).output
    assert "has no campaign.yaml" in call(verb, tmp_path, code=2).output


# ---------------------------------------------------------------------- run


def test_a_campaign_file_is_run_into_runs_and_its_name(project):
    output = call("run", "first.yaml", "--debug").output
    assert CampaignDirectory("runs/first").exists()
    assert "9 of 9 begun" in output
    assert "best      loss" in output
    for verb in ("status runs/first", "explain runs/first", "export runs/first"):
        assert verb in output


def test_the_path_is_the_option_s_then_the_file_s(project):
    project("second.yaml", path="elsewhere/second")
    call("run", "second.yaml", "--debug")
    assert CampaignDirectory("elsewhere/second").exists()
    call("run", "second.yaml", "--debug", "--path", "third")
    assert CampaignDirectory("third").exists()
    assert "path=3: must be the path" in call("run", project(path=3), "--debug", code=2).output


def test_budgets_on_the_command_line_go_before_those_of_the_file_and_are_recorded(project):
    output = call("run", "first.yaml", "--debug", "--trials", 3, "--json").stdout
    assert json.loads(output)["trials"] == 3
    assert CampaignDirectory("runs/first").config()["budget"] == {"trials": 3}
    # Resuming asks for what was asked for then, not for what the file says.
    assert json.loads(call("resume", "runs/first", "--debug", "--json").stdout)["trials"] == 3
    more = call("resume", "runs/first", "--debug", "--json", "--trials", 5)
    assert json.loads(more.stdout)["trials"] == 5


def test_a_spent_budget_ends_the_run_and_says_how_to_go_on(project):
    output = call("run", "first.yaml", "--debug", "--steps", 2).output
    assert "ended     the budget of 2 steps is spent" in output
    assert "resume runs/first" in output


def test_running_twice_goes_on_where_it_ended(project):
    call("run", "first.yaml", "--debug")
    again = call("run", "first.yaml", "--debug")
    assert "going on with 'first'" in again.stderr
    assert "9 of 9 begun" in again.stdout


def test_another_campaign_in_the_same_directory_is_refused(project):
    call("run", "first.yaml", "--debug")
    project(space={"x": {"type": "float", "low": 0, "high": 2}})
    assert "holds a campaign with space=" in call("run", "first.yaml", "--debug", code=2).output


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metrik": "loss"}, "did you mean 'metric'"),
        ({"objective": "objectives:objectiv"}, "did you mean 'objective'"),
        ({"objective": "objectivs:objective"}, "No module named 'objectivs'"),
        ({"objective": "objectives"}, "must be 'module:function'"),
        ({"objective": "objectives:number"}, "is int, must be a function"),
        ({"objective": "__main__:train"}, "was given in Python"),
        ({"objective": None}, "must be 'module:function', or give a command"),
        ({"objective": None, "command": "train --lr {lr}"}, "'lr' is unknown"),
        ({"budget": None}, "budget: none given"),
        ({"scheduler": {"type": "asha", "max_step": 0}}, "max_step=0"),
    ],
)
def test_what_is_wrong_in_a_campaign_file_is_said_before_anything_is_made(
    project, settings, message
):
    result = call("run", project(**settings), code=2)
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("text", "message"), [("a: [", "is no YAML file"), ("- a", "must hold keys")]
)
def test_a_file_that_is_no_campaign_is_named(project, text, message):
    Path("bad.yaml").write_text(text)
    assert message in call("run", "bad.yaml", code=2).output


def test_an_error_on_importing_the_objective_is_told(project):
    Path("bad.py").write_text("1 / 0")
    output = call("run", project(objective="bad:objective"), code=2).output
    assert "importing it raised ZeroDivisionError: division by zero" in output
    Path("bad2.py").write_text("import a_package_that_is_nowhere")
    output = call("run", project(objective="bad2:objective"), code=2).output
    assert "No module named 'a_package_that_is_nowhere'" in output
    assert "looked in" not in output


def test_places_to_run_exclude_each_other(project):
    output = call("run", "first.yaml", "--debug", "--address", "tcp://a:1", code=2).output
    assert "--debug and --address exclude each other" in output


def test_a_copied_record_makes_a_campaign_of_its_own(project):
    call("run", "first.yaml", "--debug")
    shutil.copy("runs/first/campaign.yaml", "second.yaml")
    call("run", "second.yaml", "--debug", "--path", "runs/second")
    first, second = (CampaignDirectory(f"runs/{name}").config() for name in ("first", "second"))
    assert first["fingerprint"] == second["fingerprint"]
    assert first["token"] != second["token"]


def test_an_exception_reaches_the_debugger(project):
    with pytest.raises(ValueError, match="no such data file"):
        call("run", project(objective="objectives:broken"), "--debug")


def test_the_quick_start_is_a_valid_campaign_of_the_laptop_s_space():
    pytest.importorskip("torch")
    from daskhpo.campaign import Campaign
    from daskhpo.cli.objective import find_objective
    from daskhpo.mlpf.space import laptop
    from daskhpo.mlpf.training import configure

    file = Path(__file__).parent.parent / "data" / "quickstart.yaml"
    campaign = Campaign.from_mapping(yaml.safe_load(file.read_text(encoding="utf-8")))
    assert callable(find_objective(campaign))
    assert dict(campaign.space) | {"events": None} == dict(Space.from_dict(laptop())) | {
        "events": None
    }
    configure(campaign.study().ask().params)


# ---------------------------------------------------------------------- looking


def test_status_says_how_it_stands(campaign):
    output = call("status", campaign).output
    assert "9 of 9 begun" in output
    assert "driver    none at work" in output
    plain = json.loads(call("status", campaign, "--json").output)
    assert (plain["trials"], plain["driver"], plain["torn"]) == (9, None, None)


def test_best_is_the_incumbent(campaign):
    plain = json.loads(call("best", campaign, "--json").output)
    assert plain["state"] == "completed"
    assert f"trial {plain['number']} (completed): loss" in call("best", campaign).output


def test_best_of_nothing_is_a_failure(tmp_path, campaign):
    CampaignDirectory(tmp_path / "new").create(CampaignDirectory(campaign).config())
    assert "no trial has reported yet" in call("best", tmp_path / "new", code=1).output


def test_explain_tells_a_trial_s_story(campaign):
    output = call("explain", campaign, 0).output
    assert "What happened" in output
    assert "rank" in output
    assert json.loads(call("explain", campaign, 0, "--json").output)["number"] == 0
    assert "trials 0 to 8 have begun" in call("explain", campaign, 99, code=2).output
    call("explain", campaign, "x", code=2)


def test_export_writes_tables_and_stores(campaign):
    assert call("export", campaign, "out").output.split() == ["out/trials.csv", "out/curves.csv"]
    call("export", campaign, "out.zarr", "--format", "zarr")
    assert Path("out.zarr", "zarr.json").exists()
    assert "exists already" in call("export", campaign, "out", code=2).output


@pytest.mark.parametrize(
    "words", [["status"], ["best"], ["explain", 0], ["export", "out"], ["verify"]]
)
def test_looking_takes_no_lock_and_minds_no_torn_line(campaign, words):
    with CampaignDirectory(campaign).writer() as writer:
        writer.journal.append({"kind": "exhausted"})
        writer.journal.commit(durable=False)
        with open(campaign / "journal.jsonl", "ab") as journal:
            journal.write(b'{"crc":"00000000","se')
        verb, *rest = words
        call(verb, campaign, *rest)
        os.truncate(campaign / "journal.jsonl", (campaign / "journal.jsonl").stat().st_size - 21)


def test_status_names_the_driver_while_it_holds_the_lock(campaign):
    with CampaignDirectory(campaign).writer():
        assert f"process {os.getpid()}" in call("status", campaign).output


def test_a_lock_that_was_left_behind_is_no_driver(campaign):
    with CampaignDirectory(campaign).writer():
        holder = json.loads((campaign / "lock").read_text())
    (campaign / "lock").write_text(json.dumps(holder | {"started": 1}))
    assert "none at work" in call("status", campaign).output


def test_a_torn_line_without_a_driver_is_mentioned(campaign):
    with open(campaign / "journal.jsonl", "ab") as journal:
        journal.write(b"{")
    assert "is incomplete" in call("status", campaign).stderr


def test_damage_is_a_failure_that_names_the_line(campaign):
    journal = campaign / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:3], b"damage\n", *lines[4:]]))
    for words in (["status", campaign], ["explain", campaign, 0], ["export", campaign, "out"]):
        result = call(*words, code=1)
        assert "journal.jsonl, line 4" in result.stderr
        assert "Traceback" not in result.output
    assert "needs mending" in call("verify", campaign, code=1).output


# ---------------------------------------------------------------------- upkeep


def test_verify_and_rebuild_mend_the_curves(campaign):
    assert "whole" in call("verify", campaign).output
    shutil.rmtree(campaign / "curves.zarr")
    call("rebuild", campaign)
    assert json.loads(call("verify", campaign, "--json").output)["curves"] == "equal"


def test_rebuild_keeps_away_from_a_running_campaign(campaign):
    with CampaignDirectory(campaign).writer():
        assert "is being written by" in call("rebuild", campaign, code=1).output


def test_config_prints_the_commented_defaults_and_what_holds():
    import dask.config

    output = call("config").output
    assert "# " in output
    assert yaml.safe_load(output)["daskhpo"]["tuner-grace"] == 10
    with dask.config.set({"daskhpo.tuner-grace": 60}):
        assert json.loads(call("config", "--json").output)["tuner-grace"] == 60


def test_curves_are_imported(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("lr,acc_1,acc_2\n0.1,0.5,0.7\n0.2,0.4,0.6\n")
    options = ["--params", "lr", "--metric", "acc_{step}", "--mode", "max"]
    output = call("curves", "import", table, *options, tmp_path / "out.zarr").output
    assert "2 trials, 2 steps" in output
    assert (
        "exists already"
        in call("curves", "import", table, *options, tmp_path / "out.zarr", code=2).output
    )


def test_events_are_inspected(tmp_path):
    from daskhpo.mlpf.events import load_sample

    events = load_sample()[:5]
    events.save_npz(tmp_path / "few.npz")
    plain = json.loads(call("mlpf", "inspect", tmp_path / "few.npz", "--json").output)
    assert plain["events"] == 5
    assert plain["elements"] == len(events.X)
    assert sum(plain["share_of_targets"].values()) == pytest.approx(1)
    assert "5 events" in call("mlpf", "inspect", tmp_path / "few.npz").output
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    assert "npz file" in call("mlpf", "inspect", tmp_path / "bad.npz", code=2).output


def test_events_are_generated(tmp_path):
    pytest.importorskip("pythia8mc")
    file = tmp_path / "new.npz"
    assert "2 events" in call("mlpf", "generate", file, "--events", 2).output
    assert (
        "allowed are ttbar" in call("mlpf", "generate", file, "--process", "higgs", code=2).output
    )
    assert "must end in .npz" in call("mlpf", "generate", tmp_path / "new.txt", code=2).output


# ---------------------------------------------------------------------- a real cluster


def reports(path):
    """How many reports a journal holds by now."""
    return path.read_bytes().count(b'"kind":"reported"') if path.exists() else 0


def test_a_user_runs_looks_interrupts_and_resumes(project, tmp_path):
    project("slow.yaml", objective="objectives:slow", workers={"count": 2}, budget={"trials": 500})
    root = Path(__file__).parent.parent
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    program = [sys.executable, "-m", "daskhpo"]
    run = subprocess.Popen(
        [*program, "run", "slow.yaml"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        while reports(tmp_path / "runs/slow/journal.jsonl") < 8:
            assert run.poll() is None, run.communicate()
            time.sleep(0.05)
        live = json.loads(call("status", "runs/slow", "--json").stdout)
        assert live["driver"].startswith(f"process {run.pid} ")
        assert "is being written by" in call("rebuild", "runs/slow", code=1).output
        # As Ctrl-C in a terminal does: every process of the group gets it.
        os.killpg(run.pid, signal.SIGINT)
        out, err = run.communicate(timeout=60)
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
    assert run.returncode == 0, err
    assert "ended     stopped by SIGINT" in out
    assert "dashboard: http://127.0.0.1:" in err
    assert "Traceback" not in err
    stopped = json.loads(call("status", "runs/slow", "--json").stdout)
    assert stopped["counts"]["running"] == 0
    assert stopped["counts"]["failed"] == 0
    resumed = subprocess.run(
        [*program, "resume", "runs/slow", "--steps", str(stopped["steps"] + 5), "--json"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=True,
    )
    plain = json.loads(resumed.stdout)
    assert plain["steps"] >= stopped["steps"] + 5
    assert "budget" in plain["closed"]
    assert json.loads(call("verify", "runs/slow", "--json").stdout)["ok"]


@pytest.mark.parametrize("text", ["1e-5", "1.0e-5", "1E-05"])
def test_a_float_may_be_written_as_people_write_it(text) -> None:
    from daskhpo.cli.loading import load_yaml

    assert load_yaml(f"low: {text}") == {"low": 1e-5}


def test_a_key_that_is_given_twice_is_refused_with_its_line() -> None:
    from daskhpo.cli.loading import load_yaml

    with pytest.raises(DaskhpoError, match="line 2: 'seed' is given twice"):
        load_yaml("seed: 1\nseed: 2\n")


# ---------------------------------------------------------------------- several metrics


SEVERAL = """
def objective(trial):
    for epoch in trial.steps():
        trial.report(loss=1 - trial.params["x"] + 1 / epoch, ms=100 * trial.params["x"])
"""


@pytest.fixture
def traded_off(project, tmp_path):
    """A finished campaign that trades two metrics off."""
    (tmp_path / "objectives.py").write_text(SEVERAL, encoding="utf-8")
    scheduler = {"type": "asha", "max_step": 4, "eta": 2}
    project("first.yaml", also={"ms": "min"}, scheduler=scheduler)
    call("run", "first.yaml", "--debug")
    return Path("runs/first")


def test_best_and_status_show_the_trade_offs_there_are(traded_off):
    front = json.loads(call("best", traded_off, "--json").stdout)["front"]
    assert len(front) > 1
    values = [(leader["values"]["loss"], leader["values"]["ms"]) for leader in front]
    assert values == sorted(values)
    assert [ms for _, ms in values] == sorted((ms for _, ms in values), reverse=True)
    text = call("best", traded_off).stdout
    assert f"the Pareto front: {len(front)} trials that no other beats in every metric" in text
    for leader in front:
        assert f"x={leader['params']['x']:.6g}" in text
    status = call("status", traded_off).stdout
    assert "minimise loss, minimise ms" in status
    assert f"front     {len(front)} trials" in status
    assert json.loads(call("status", traded_off, "--json").stdout)["front"] == front


def test_best_of_one_metric_speaks_of_no_front(campaign):
    assert "front" not in call("best", campaign).stdout
    assert "front" not in json.loads(call("best", campaign, "--json").stdout)


def test_metrics_that_cannot_be_traded_off_are_refused(project):
    also = {"ms": "min"}
    for settings, words in (
        ({"also": {"loss": "min"}}, "'loss' is the metric that decides already"),
        ({"also": also, "scheduler": {"type": "median", "max_step": 9}}, "compares one metric"),
    ):
        project("bad.yaml", **settings)
        assert words in call("run", "bad.yaml", "--debug", code=2).output
    assert not Path("runs").exists()


# ---------------------------------------------------------------------- warm start


def test_a_second_campaign_learns_from_the_first(project):
    call("run", "first.yaml", "--debug")
    project("second.yaml", seed=4)
    run = call("run", "second.yaml", "--debug", "--warm-start", "runs/first")
    assert "taken 9 of 9 trials of runs/first" in run.stderr
    assert "learned from 9 trials of runs/first" in run.stdout
    shutil.rmtree("runs/first")
    resumed = call("resume", "runs/second", "--debug", "--trials", 12)
    assert "taken" not in resumed.stderr
    assert "learned from 9 trials of runs/first" in call("status", "runs/second").stdout
    plain = json.loads(call("status", "runs/second", "--json").stdout)
    assert (plain["known"], plain["warm_start"], plain["trials"]) == (9, ["runs/first"], 12)


def test_several_campaigns_may_be_learned_from_also_as_stores(project):
    call("run", "first.yaml", "--debug")
    project("second.yaml", seed=4, warm_start=["runs/first"])
    call("run", "second.yaml", "--debug")
    project("third.yaml", seed=5, warm_start=["runs/first"])
    store = "runs/second/curves.zarr"
    third = call("run", "third.yaml", "--debug", "--warm-start", store)
    assert "learned from 18 trials of runs/first and runs/second/curves.zarr" in third.stdout


def test_what_cannot_be_learned_from_is_named_before_anything_starts(project):
    call("run", "first.yaml", "--debug")
    project("other.yaml", space={"y": {"type": "float", "low": 0, "high": 1}})
    for warm, words in (
        ("runs/nowhere", "runs/nowhere does not exist"),
        ("runs/first", "nothing to learn; taken 0 of 9 trials of runs/first"),
        ("first.yaml", "first.yaml"),
    ):
        result = call("run", "other.yaml", "--warm-start", warm, code=2)
        assert "warm_start" in result.output
        assert words in result.output
    assert not Path("runs/other").exists()
