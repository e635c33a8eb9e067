"""Any script can be a trial: it gets its parameters, is listened to, halted and ended."""

from __future__ import annotations

import json
import math
import sys
import threading
import time

import psutil
import pytest

from daskhpo.samplers.random import Random
from daskhpo.schedulers import ASHA
from daskhpo.space import Float, Space
from daskhpo.study import Study
from daskhpo.trial import Answer, Decision, Outcome
from daskhpo.worker import command as command_module
from daskhpo.worker.command import CommandObjective
from daskhpo.worker.perform import perform

SAYS = (
    "import json, os, sys, time\nout = os.fdopen(int(os.environ['DASKHPO_METRICS_FD']), 'w', 1)\n"
)
TRAINS = (
    SAYS
    + """
for step in range(1, int(os.environ["DASKHPO_MAX_STEP"]) + 1):
    print(json.dumps({"step": step, "loss": 1 / step}), file=out)
"""
)


@pytest.fixture
def script(tmp_path):
    """Write a Python script; returns the command that runs it."""

    def write(text):
        (tmp_path / "script.py").write_text(text)
        return f"{sys.executable} {tmp_path / 'script.py'}"

    return write


def run(stay):
    return perform(stay.work.objective, stay.session)


def ended(pid):
    """Wait until a process is no more."""
    try:
        process = psutil.Process(pid)
        while process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.02)
    except psutil.NoSuchProcess:
        pass
    return True


# ---------------------------------------------------------------------- what it is given


@pytest.mark.parametrize(
    "value",
    [
        "two words",
        "it's",
        'a "quote"',
        "; touch hacked",
        "$(touch hacked)",
        "`touch hacked`",
        "> hacked",
        "&& touch hacked",
        "*",
        "",
        "-n",
        "line\nbreak",
        "{x}",
        "ü",
    ],
)
def test_a_value_is_one_word_for_the_shell_whatever_is_in_it(stay, tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    dump = "import json, sys; json.dump(sys.argv[1:], open(sys.argv[1] + '/argv', 'w'))"
    objective = CommandObjective(f'{sys.executable} -c "{dump}" {{dir}} {{x}} {{x}}.txt')
    one = stay(objective, params={"x": value})
    assert run(one).error == ""
    words = json.loads((one.session.path / "argv").read_text())
    assert words == [str(one.session.path), value, f"{value}.txt"]
    assert not (tmp_path / "hacked").exists()


def test_the_template_and_the_environment_know_the_trial(stay, script):
    command = script(
        "import os, sys\nopen(os.environ['DASKHPO_DIR'] + '/seen', 'w').write(repr((sys.argv[1:], "
        "[os.environ['DASKHPO_' + n] for n in ('PARAMS', 'MAX_STEP', 'NUMBER', 'SEED', 'DIR')])))"
    )
    objective = CommandObjective(f"{command} {{lr}} {{max_step}} {{number}} {{seed}} {{dir}}")
    one = stay(objective, params={"lr": 1e-05}, number=7)
    assert run(one).error == ""
    words, variables = eval((one.session.path / "seen").read_text())  # noqa: S307 (its own repr)
    about = ["5", "7", str(one.session.seed), str(one.session.path)]
    assert words == ["1e-05", *about]
    assert variables == ['{"lr": 1e-05}', *about]


@pytest.mark.parametrize("parent", [None, 3])
def test_a_child_is_told_where_its_parent_kept_its_things(stay, script, parent):
    command = script(
        "import os, sys\nopen(os.environ['DASKHPO_DIR'] + '/seen', 'w').write("
        "repr((sys.argv[1], os.environ['DASKHPO_PARENT_DIR'])))"
    )
    one = stay(CommandObjective(f"{command} {{parent_dir}}"), number=7)
    one.session.parent = parent
    assert run(one).error == ""
    expected = "" if parent is None else str(one.session.path.with_name("00003"))
    assert eval((one.session.path / "seen").read_text()) == (expected, expected)  # noqa: S307


@pytest.mark.parametrize(
    "template", ["train {lrr}", "train {}", "train {0}", "train {x", 'echo {"a": 1}']
)
def test_a_name_that_is_unknown_is_an_error_that_lists_the_known_ones(stay, template):
    ending = run(stay(CommandObjective(template)))
    assert ending.outcome is Outcome.FAILED
    assert not ending.retry
    assert "known: dir, max_step, number, parent_dir, seed, x" in ending.error


def test_doubled_braces_are_braces():
    assert CommandObjective("awk '{{print}}' {x}").fill("awk '{{print}}' {x}", {"x": 1}) == (
        "awk '{print}' 1"
    )


# ---------------------------------------------------------------------- what it says


def test_metrics_come_over_the_descriptor(stay, script):
    one = stay(CommandObjective(script(TRAINS)))
    assert run(one).outcome is Outcome.COMPLETED
    assert one.tape.sent == [(step, {"loss": 1 / step}, False) for step in range(1, 6)]


@pytest.mark.parametrize("name", ["plain", "with a space and a 'quote'"])
def test_metrics_come_from_a_file_while_it_grows(stay, script, tmp_path, monkeypatch, name):
    monkeypatch.setattr(command_module, "POLL", 0.01)
    # The line is cut in two, and the next is written only when the first was understood.
    command = script(
        """
import os, time
with open(os.environ["DASKHPO_DIR"] + "/m.jsonl", "ab", 0) as out:
    out.write(b'{"step": 1, "lo')
    time.sleep(0.05)
    out.write(b'ss": 1.0}\\n{"step": 2, "loss": 0.5}\\n')
    while not os.path.exists(os.environ["DASKHPO_DIR"] + "/understood"):
        time.sleep(0.01)
    out.write(b'{"step": 3, "loss": 0.25}')  # and no newline at the end
"""
    )
    one = stay(CommandObjective(command, metrics="{dir}/m.jsonl"), path=str(tmp_path / name))
    one.tape.answers = {2: lambda: (one.session.path / "understood").touch()}
    assert run(one).outcome is Outcome.COMPLETED
    assert one.tape.sent == [(n, {"loss": 2.0 ** (1 - n)}, False) for n in (1, 2, 3)]


def test_lines_that_are_no_metrics_are_passed_over(stay, script):
    command = script(
        SAYS
        + r"""
raw = out.buffer
for line in [
    b"epoch 1 of 5", bytes(b for b in range(256) if b != 10), b"", b"\xff\xfe\x00", b"[1, 2]",
    b'"text"', b"7", b"null", b'{"loss": 1.0}', b'{"step": "1", "loss": 1.0}', b'{"step": 1.5}',
    b'{"step": null}', b'{"step": 1, "loss": 1.0', b'[' * 100_000, b"{" * 100_000,
    b'{"step": 1, "loss": 1.0, "note": "text", "nested": {"a": 1}, "none": null}',
    b'{"step": 1, "loss": 9.0}', b'{"step": 0, "loss": 9.0}', b'{"step": -1, "loss": 9.0}',
    b'{"step": 2, "loss": NaN, "large": 1' + b"0" * 400 + b"}",
]:
    raw.write(line + b"\n")
raw.flush()
"""
    )
    one = stay(CommandObjective(command))
    assert run(one).error == ""
    assert one.tape.sent[0] == (1, {"loss": 1.0}, False)
    assert one.tape.steps == [1, 2]
    assert str(one.tape.metrics[1]["loss"]) == "nan"


def test_a_line_without_the_studys_metric_is_an_error_that_names_it(stay, script):
    one = stay(CommandObjective(script(SAYS + "print(json.dumps(dict(step=1, los=1)), file=out)")))
    ending = run(one)
    assert ending.outcome is Outcome.FAILED
    assert "the study's metric 'loss' is missing" in ending.error


def test_an_exit_code_is_an_error_with_the_end_of_the_log(stay, script):
    command = script("import sys\nprint('x' * 10_000)\nsys.exit('no such file: \\xe9')")
    one = stay(CommandObjective(command))
    ending = run(one)
    assert (ending.outcome, ending.retry) == (Outcome.FAILED, True)
    assert "the command ended with code 1" in ending.error
    assert "no such file: é" in ending.error
    assert len(ending.error) < 5000
    assert (one.session.path / "command-a0.log").stat().st_size > 10_000


def test_a_command_that_does_not_exist_says_so(stay):
    ending = run(stay(CommandObjective("no-such-command-anywhere {x}")))
    assert "ended with code 127" in ending.error
    assert "no-such-command-anywhere" in ending.error


# ---------------------------------------------------------------------- what it is told

OBEYS = (
    SAYS
    + """
import signal
folder = os.environ["DASKHPO_DIR"]
def leave(*_):
    time.sleep(0.2)  # as saving a checkpoint takes
    open(folder + "/left", "w").write("in peace")
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
open(folder + "/pid", "w").write(str(os.getpid()))
for step in range(1, 6):
    print(json.dumps({"step": step, "loss": 1 / step}), file=out)
    time.sleep(0.05)
time.sleep(600)
"""
)
IGNORES = OBEYS.replace("signal.SIGTERM, leave", "signal.SIGTERM, signal.SIG_IGN")


@pytest.mark.parametrize(
    ("decision", "outcome"),
    [(Decision.STOP, Outcome.STOPPED), (Decision.PAUSE, Outcome.PAUSED)],
)
@pytest.mark.parametrize("form", ["{}", "true && {}", "{}; sleep 600", "({})"])
def test_a_decision_against_it_is_told_by_sigterm(stay, script, decision, outcome, form):
    """Whatever shell stands between, the script gets its time to leave."""
    one = stay(CommandObjective(form.format(script(OBEYS))), stop=3, answers={3: decision})
    assert run(one).outcome is outcome
    assert one.tape.steps == [1, 2, 3]
    assert (one.session.path / "left").read_text() == "in peace"
    assert ended(int((one.session.path / "pid").read_text()))


def test_whoever_ignores_sigterm_is_killed_in_the_end(stay, script, monkeypatch):
    monkeypatch.setattr(command_module, "MERCY", 0.2)
    one = stay(CommandObjective(script(IGNORES)), stop=3, answers={3: Decision.STOP})
    assert run(one).outcome is Outcome.STOPPED
    assert not (one.session.path / "left").exists()
    assert ended(int((one.session.path / "pid").read_text()))


def test_what_the_command_started_goes_with_it(stay, script, monkeypatch):
    monkeypatch.setattr(command_module, "MERCY", 0.2)
    command = script(
        OBEYS.replace(
            "for step", "os.system('sleep 600 & echo $! >{}/child'.format(folder))\nfor step"
        )
    )
    one = stay(CommandObjective(command), stop=3, answers={3: Decision.STOP})
    assert run(one).outcome is Outcome.STOPPED
    assert ended(int((one.session.path / "child").read_text()))


def test_a_worker_that_has_to_go_interrupts_its_command(stay, script):
    one = stay(CommandObjective(script(OBEYS)), stop=3)
    one.tape.answers = {3: one.tape.interrupt}
    assert run(one).outcome is Outcome.INTERRUPTED
    assert (one.session.path / "left").exists()


# ---------------------------------------------------------------------- when its batch job ends

BUSY = OBEYS.replace("range(1, 6)", "range(1, 1 + int(os.environ['STEPS']))")


@pytest.mark.parametrize(("ends", "said"), [(1_900_000_000.5, "1900000000"), (math.inf, "none")])
def test_it_is_told_when_its_batch_job_ends(stay, script, monkeypatch, ends, said):
    monkeypatch.setenv("DASKHPO_ENDS", "1800000000")  # as the worker began; its channel knows more
    command = script(
        "import os\nopen(os.environ['DASKHPO_DIR'] + '/seen', 'w').write("
        "os.environ.get('DASKHPO_ENDS', 'none'))"
    )
    one = stay(CommandObjective(command))
    one.tape.ends = ends
    assert run(one).error == ""
    assert (one.session.path / "seen").read_text() == said


def test_it_leaves_after_a_report_when_the_next_would_come_too_late(stay, script):
    one = stay(CommandObjective(script(OBEYS)))

    def draw_near():
        one.tape.ends = time.time() + 1.5  # a checkpoint is taken to need 2 s

    one.tape.answers = {3: draw_near}
    assert run(one).outcome is Outcome.INTERRUPTED
    assert one.tape.steps == [1, 2, 3]
    assert (one.session.path / "left").read_text() == "in peace"


@pytest.mark.parametrize("metrics", [None, "{dir}/m.jsonl"])
@pytest.mark.parametrize("steps", [0, 2])
def test_it_leaves_in_the_middle_of_a_step_when_the_time_is_up(
    stay, script, monkeypatch, caplog, metrics, steps
):
    monkeypatch.setattr(command_module, "POLL", 0.01)
    monkeypatch.setenv("STEPS", str(steps))
    text = BUSY
    if metrics is not None:
        text = BUSY.replace(
            "import signal", "out = open(folder + '/m.jsonl', 'w', 1)\nimport signal"
        )
        text = text.replace("out = open(folder", "out = open(os.environ['DASKHPO_DIR']")
    one = stay(CommandObjective(script(text), metrics=metrics))

    def come_to_an_end():
        while len(one.tape.steps) < steps or not (one.session.path / "pid").exists():
            time.sleep(0.01)
        one.tape.ends = time.time()

    threading.Thread(target=come_to_an_end).start()
    assert run(one).outcome is Outcome.INTERRUPTED
    assert one.tape.steps == list(range(1, steps + 1))
    assert (one.session.path / "left").read_text() == "in peace"
    assert ("has reported nothing" in caplog.text) == (steps == 0)


def test_one_of_several_ranks_does_not_leave_alone_in_the_middle_of_a_step(stay):
    one = stay()
    one.tape.ends = time.time()
    one.session.world_size = 2
    assert not command_module._is_over(one.session, 1)
    one.session.world_size = 1
    assert command_module._is_over(one.session, 1)


def line_of(process):
    """A process's command line; empty once it has ended."""
    try:
        return str(process.cmdline())
    except psutil.Error:
        return ""


def test_a_command_is_halted_while_it_waits_for_the_decision(stay, script):
    counts = (
        SAYS
        + """
count = open(os.environ["DASKHPO_DIR"] + "/count", "w", 1)
for step in range(1, 6):
    print(json.dumps({"step": step, "loss": 1 / step}), file=out)
    for _ in range(5):
        print("x", file=count)
        time.sleep(0.01)
"""
    )
    one = stay(CommandObjective(script(counts)), stop=2)
    asked = threading.Event()
    one.tape.answers = {2: asked.set}
    got = []
    thread = threading.Thread(target=lambda: got.append(run(one)))
    thread.start()
    assert asked.wait(20)
    count = one.session.path / "count"
    stopped = [c for c in psutil.Process().children(recursive=True) if "script.py" in line_of(c)]
    assert stopped
    while any(process.status() != psutil.STATUS_STOPPED for process in stopped):
        time.sleep(0.01)
    before = count.read_text()
    time.sleep(0.3)  # it would have finished by now
    assert count.read_text() == before
    assert one.tape.steps == [1, 2]
    one.tape.deliver(Answer(Decision.CONTINUE, 5))
    thread.join(20)
    assert got[0].outcome is Outcome.COMPLETED
    assert one.tape.steps == [1, 2, 3, 4, 5]
    assert len(count.read_text().split()) == 25


def test_a_command_that_starts_again_is_not_counted_twice(stay, script):
    """The study itself answers: a trial is paused at step 1 and promoted to step 3."""
    space = Space(x=Float(0.0, 1.0))
    study = Study(space, ASHA(max_step=9, eta=3), Random(space, seed=1), metric="loss")
    objective = CommandObjective(script(TRAINS))
    study.set_limit(3)
    while (job := study.ask()) is not None:
        one = stay(
            objective,
            params=dict(job.params),
            number=job.number,
            attempt=job.attempt,
            start=job.start,
            stop=job.stop,
            max_step=9,
        )

        def judge(step, metrics, *, urgent, one=one, job=job):
            one.tape.deliver(study.report(job.number, job.attempt, step, metrics))

        one.tape.send = judge
        study.tell(job.number, job.attempt, run(one).outcome)
    assert max(trial.attempt for trial in study.trials.values()) > 0
    assert study.reports == study.steps == sum(trial.step for trial in study.trials.values())


def test_nothing_is_left_when_the_objective_itself_breaks(stay, script, monkeypatch):
    monkeypatch.setattr(command_module, "MERCY", 0.2)
    one = stay(CommandObjective(script(OBEYS)))

    def breaks():
        raise RuntimeError("the wire is cut")

    one.tape.answers = {2: breaks}
    assert "the wire is cut" in run(one).error
    assert ended(int((one.session.path / "pid").read_text()))
