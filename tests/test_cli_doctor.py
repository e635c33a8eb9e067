"""``daskhpo doctor`` says what it finds, for people or as JSON, and ends with the right code."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from daskhpo.cli import main
from daskhpo.cluster.findings import Finding, Level


def call(*arguments, code=0):
    """Run a command and insist on its exit code; returns what click recorded."""
    result = CliRunner().invoke(main, ["doctor", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def found(monkeypatch):
    """Let the doctor find what a test wants; gives what it was asked."""
    asked = {}

    def find(*findings):
        def diagnose(case, *, job):
            asked.update(case=case, job=job)
            case.say("waiting: batch job 17: PENDING (Priority)")
            yield from findings

        monkeypatch.setattr("daskhpo.cluster.doctor.diagnose", diagnose)
        return asked

    return find


def test_this_machine_is_looked_at_without_a_job(tmp_path):
    output = call("--no-job", "--dir", tmp_path).output
    assert "ok       locks: one writer at a time" in output
    assert "probe job" not in output


def test_a_failure_comes_with_its_cure_and_code_1(found):
    found(Finding("munge", Level.FAILURE, "is not there", "start it"))
    result = call(code=1)
    assert "failure  munge: is not there\n         cure: start it\n" in result.stdout
    assert "1 failed" in result.stdout


def test_a_warning_is_no_failure(found):
    found(Finding("disk", Level.WARNING, "nearly full", "free some"))
    assert "0 failed, 1 to think about, 0 fine" in call().stdout


def test_json_holds_every_finding_and_nothing_else(found):
    found(Finding("a", Level.OK, "is well"), Finding("b", Level.FAILURE, "is not", "mend it"))
    content = json.loads(call("--json", code=1).stdout)
    assert content["failures"] == 1
    cure = {"what": "b", "level": "failure", "said": "is not", "cure": "mend it"}
    assert content["findings"][1] == cure


def test_what_is_waited_for_goes_to_standard_error(found):
    found(Finding("a", Level.OK, "is well"))
    result = call()
    assert "PENDING (Priority)" in result.stderr
    assert "PENDING" not in result.stdout


def test_options_become_the_settings_of_a_pool(found, tmp_path):
    asked = found()
    options = ["--queue", "urgent", "--account", "hep", "--gpus", 2, "--walltime", "01:00:00"]
    call("--site", "test-slurm", *options, "--directive=--exclusive", "--dir", tmp_path)
    case = asked["case"]
    settings = case.settings
    assert (settings.kind, settings.queue, settings.account) == ("slurm", "urgent", "hep")
    assert (settings.walltime, tuple(settings.directives)) == ("01:00:00", ("--exclusive",))
    assert (case.gpus, case.interface, case.directory) == (2, "lo", tmp_path)


def test_without_options_the_node_is_this_machine(found):
    asked = found()
    call("--wait", 5)
    assert asked["case"].site is None
    assert asked["case"].patience == 5
    assert asked["job"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--site", "nowhere"], "there is no such site"),
        (["--pool-kind", "cray"], "--pool-kind"),
        (["--site", "test-slurm", "--pool-kind", "pbs"], "kind"),
        (["--site", "test-slurm", "--walltime", "long"], "pool.walltime='long'"),
        (["--dir", "/no/such/place"], "/no/such/place"),
    ],
)
def test_what_cannot_be_meant_is_a_wrong_call(options, says):
    assert says in call(*options, code=2).output
