"""Other batch systems than Slurm: what their commands write, as sites and manuals publish it."""

import math
import subprocess
import sys
import time
from pathlib import Path

import pytest

from daskhpo.cluster.batch import Blame, Phase, SubmitError, Unreachable
from daskhpo.cluster.commands import Answer
from daskhpo.cluster.htcondor import parse_condor
from daskhpo.cluster.lsf import parse_bjobs
from daskhpo.cluster.oar import parse_oarstat
from daskhpo.cluster.pbs import parse_qstat
from daskhpo.cluster.sge import parse_qacct, parse_qstat_xml
from daskhpo.cluster.systems import Queue, job_class, make_system
from daskhpo.exceptions import CampaignError

PBS_FINISHED = """\
Job Id: 4521.kman
    Job_Name = hpo-a1b2
    resources_used.mem = 6896kb
    resources_used.walltime = 00:00:09
    job_state = F
    queue = cse12
    server = kman
    ctime = Thu Aug 10 16:10:39 2023
    exec_host = k242/3*8+k243/0*8
    exec_vnode = (k242:ncpus=8:mem=1048576kb:ngpus=4)
    mtime = Thu Aug 10 16:11:10 2023
    Rerunable = False
    Resource_List.mem = 1gb
    Resource_List.ncpus = 16
    Resource_List.ngpus = 8
    Resource_List.select = 2:ncpus=8:ngpus=4:mem=1gb
    Resource_List.walltime = 01:00:00
    stime = Thu Aug 10 16:10:55 2023
    obittime = Thu Aug 10 16:11:09 2023
    substate = 92
    Variable_List = PBS_O_HOME=/home/z3536424,PBS_O_LANG=en_AU.UTF-8,
\tPBS_O_PATH=/home/z3536424/.local/bin:/usr/share/Modules/bin:/usr/lib64
\t/ccache:/usr/local/bin,PBS_O_HOST=katana2,job_state = Q
    comment = Job run at Thu Aug 10 at 16:10 on (k242:ncpus=1:mem=1048576kb:ngp
\tus=0) and finished
    run_count = 2
    Exit_status = {status}
    Submit_arguments = -N hacky -I

"""
TORQUE = """\
Job Id: 522083.barnacle.ucsd.edu
    Job_Name = timeout.pbs
    resources_used.walltime = 00:00:14
    job_state = C
    queue = short4gb
    exec_host = brncl-31/5+brncl-31/6
    Resource_List.nodes = 1:ppn=2:gpus=1
    Resource_List.walltime = 00:00:10
    mtime = Fri Oct 20 04:30:55 2017
    comp_time = Fri Oct 20 04:30:55 2017
    start_time = Fri Oct 20 04:30:41 2017
    start_count = 1
    exit_status = {status}
    Exit_status = {status}
"""


def pbs(status: int) -> tuple[Blame, str]:
    job = parse_qstat(PBS_FINISHED.format(status=status))["4521.kman"]
    return job.blame, job.reason


def test_pbs_tells_where_a_finished_job_ran_for_how_long_and_with_what() -> None:
    job = parse_qstat(PBS_FINISHED.format(status=0))["4521.kman"]
    assert (job.phase, job.state, job.nodes) == (Phase.ENDED, "Finished", "k242,k243")
    assert (job.cpus, job.gpus, job.restarts) == (16, 8, 1)
    assert job.seconds == 14
    assert job.ends == job.began + 3600
    assert time.localtime(job.began)[:6] == (2023, 8, 10, 16, 10, 55)


@pytest.mark.parametrize(
    ("status", "blame", "words"),
    [
        (0, Blame.UNKNOWN, ""),
        (1, Blame.UNKNOWN, "exit code 1"),
        (-29, Blame.SYSTEM, "out of walltime"),
        (-27, Blame.TRIAL, "out of memory"),
        (-3, Blame.SYSTEM, "could not run it"),
        (271, Blame.SYSTEM, "SIGTERM"),
        (143, Blame.SYSTEM, "SIGTERM"),
        (265, Blame.UNKNOWN, "SIGKILL"),
        (137, Blame.UNKNOWN, "SIGKILL"),
    ],
)
def test_pbs_exit_statuses_say_whose_doing_an_end_was(
    status: int, blame: Blame, words: str
) -> None:
    assert pbs(status)[0] is blame
    assert words in pbs(status)[1]


def test_torque_counts_differently() -> None:
    job = parse_qstat(TORQUE.format(status=-11))["522083.barnacle.ucsd.edu"]
    assert (job.blame, job.reason) == (Blame.SYSTEM, "out of walltime")
    assert (job.cpus, job.gpus, job.nodes, job.seconds) == (2, 1, "brncl-31", 14)
    killed = parse_qstat(TORQUE.format(status=265))["522083.barnacle.ucsd.edu"]
    assert (killed.blame, killed.reason) == (Blame.SYSTEM, "SIGKILL, out of walltime")
    assert parse_qstat(TORQUE.format(status=-10)).popitem()[1].blame is Blame.TRIAL


LSF = """Cannot connect to LSF. Please wait ...
{
  "COMMAND":"bjobs",
  "JOBS":4,
  "RECORDS":[
    {
      "JOBID":"22005",
      "STAT":"RUN",
      "EXIT_CODE":"",
      "EXIT_REASON":"",
      "PEND_REASON":"",
      "EXEC_HOST":"4*tbi-cn019:2*tbi-cn020",
      "START_TIME":"Dec 28 19:56:01 2026",
      "FINISH_TIME":"Dec 28 21:56:01 2026 L",
      "GPU_NUM":"4"
    },
    {
      "JOBID":"22006",
      "STAT":"PEND",
      "EXIT_CODE":"-",
      "EXIT_REASON":"-",
      "PEND_REASON":"New job is waiting for scheduling;",
      "EXEC_HOST":"-",
      "START_TIME":"-",
      "FINISH_TIME":"-",
      "GPU_NUM":"-"
    },
    {
      "JOBID":"22007",
      "STAT":"EXIT",
      "EXIT_CODE":"%(code)s",
      "EXIT_REASON":"%(reason)s",
      "PEND_REASON":"",
      "EXEC_HOST":"tbi-cn019:tbi-cn019",
      "START_TIME":"Dec 28 19:56",
      "FINISH_TIME":"Dec 28 19:58 L",
      "GPU_NUM":"-"
    },
    {
      "JOBID":"9",
      "ERROR":"Job <9> is not found"
    }
  ]
}
"""


def lsf(code: str = "", reason: str = ""):
    now = time.mktime((2027, 1, 3, 0, 0, 0, 0, 0, -1))
    return parse_bjobs(LSF % {"code": code, "reason": reason}, now=now)


def test_lsf_tells_of_running_and_waiting_jobs_and_leaves_out_forgotten_ones() -> None:
    jobs = lsf()
    assert sorted(jobs) == ["22005", "22006", "22007"]
    runs = jobs["22005"]
    assert (runs.phase, runs.nodes, runs.cpus, runs.gpus) == (
        Phase.RUNNING,
        "tbi-cn019,tbi-cn020",
        6,
        4,
    )
    assert runs.ends - runs.began == 7200
    waits = jobs["22006"]
    assert (waits.phase, waits.cpus, waits.nodes) == (Phase.PENDING, 0, "")
    assert waits.reason == "New job is waiting for scheduling;"
    assert math.isnan(waits.began)
    assert waits.ends == math.inf


def test_lsf_times_without_a_year_are_the_nearest() -> None:
    over = lsf()["22007"]
    assert time.localtime(over.began)[:5] == (2026, 12, 28, 19, 56)
    assert over.seconds == 120


@pytest.mark.parametrize(
    ("code", "reason", "blame"),
    [
        ("130", "TERM_OWNER: job killed by owner", Blame.SYSTEM),
        ("140", "TERM_RUNLIMIT: job killed after reaching LSF run time limit", Blame.SYSTEM),
        ("137", "TERM_PREEMPT: job killed after preemption", Blame.SYSTEM),
        ("137", "TERM_MEMLIMIT: job killed after reaching LSF memory usage limit", Blame.TRIAL),
        ("137", "TERM_EXTERNAL_SIGNAL: job killed by a signal external to LSF", Blame.UNKNOWN),
        ("143", "", Blame.SYSTEM),
        ("1", "", Blame.UNKNOWN),
    ],
)
def test_lsf_termination_reasons_say_whose_doing_an_end_was(
    code: str, reason: str, blame: Blame
) -> None:
    job = lsf(code, reason)["22007"]
    assert job.blame is blame
    assert job.reason.startswith(reason)


SGE_QSTAT = """<?xml version='1.0'?>
<job_info  xmlns:xsd="http://arc.liv.ac.uk/repos/darcs/sge/source/dist/util/resources/qstat.xsd">
  <queue_info>
    <job_list state="running">
      <JB_job_number>113254</JB_job_number>
      <JAT_prio>0.55500</JAT_prio>
      <JB_name>hpo-a1b2</JB_name>
      <JB_owner>sgeuser</JB_owner>
      <state>r</state>
      <JAT_start_time>2021-07-02T10:46:14</JAT_start_time>
      <queue_name>main@c242f10e1253</queue_name>
      <slots>8</slots>
      <full_job_name>hpo-a1b2</full_job_name>
      <hard_request name="h_rt" resource_contribution="0.0">3600</hard_request>
      <hard_request name="gpu" resource_contribution="0.0">2</hard_request>
    </job_list>
  </queue_info>
  <job_info>
    <job_list state="pending">
      <JB_job_number>113255</JB_job_number>
      <JB_name>hpo-a1b2</JB_name>
      <state>qw</state>
      <JB_submission_time>2021-07-02T10:45:14</JB_submission_time>
      <queue_name></queue_name>
      <slots>8</slots>
      <full_job_name>hpo-a1b2</full_job_name>
    </job_list>
    <job_list state="pending">
      <JB_job_number>113256</JB_job_number>
      <JB_name>hpo-a1b2</JB_name>
      <state>Eqw</state>
      <slots>8</slots>
      <full_job_name>hpo-a1b2</full_job_name>
    </job_list>
    <job_list state="pending">
      <JB_job_number>7</JB_job_number>
      <JB_name>somebody</JB_name>
      <state>qw</state>
      <slots>1</slots>
      <full_job_name>somebody</full_job_name>
    </job_list>
  </job_info>
</job_info>
"""
SGE_QACCT = """==============================================================
qname        long.q
hostname     qb3-id95
owner        alice
jobname      hpo-a1b2
jobnumber    191442
taskid       undefined
qsub_time    Wed Feb 12 20:59:18 2020
start_time   Wed Feb 12 21:01:50 2020
end_time     Wed Feb 12 {end} 2020
granted_pe   smp
slots        10
failed       {failed}
exit_status  {status}
ru_wallclock 3600s
arid         undefined
category     -u alice -q !gpu.q -l h_rt=3600,mem_free=25G,gpu=2,h_vmem=4G -pe smp 10
"""


def sge(failed: str, status: str, end: str = "22:01:50"):
    return parse_qacct(SGE_QACCT.format(failed=failed, status=status, end=end))["191442"]


def test_grid_engine_lists_the_jobs_of_a_name() -> None:
    jobs = parse_qstat_xml(SGE_QSTAT, "hpo-a1b2")
    assert sorted(jobs) == ["113254", "113255", "113256"]
    runs = jobs["113254"]
    assert (runs.phase, runs.nodes, runs.cpus, runs.gpus) == (Phase.RUNNING, "c242f10e1253", 8, 2)
    assert runs.ends - runs.began == 3600
    assert jobs["113255"].phase is Phase.PENDING


def test_grid_engine_jobs_in_error_are_over_since_they_never_run() -> None:
    broken = parse_qstat_xml(SGE_QSTAT)["113256"]
    assert (broken.phase, broken.blame) == (Phase.ENDED, Blame.SYSTEM)


@pytest.mark.parametrize(
    ("failed", "status", "end", "blame"),
    [
        ("0", "0", "21:30:00", Blame.UNKNOWN),
        ("0", "1", "21:30:00", Blame.UNKNOWN),
        (
            "100 : assumedly after job",
            "143                  (Terminated)",
            "21:30:00",
            Blame.SYSTEM,
        ),
        ("100 : assumedly after job", "137                  (Killed)", "21:30:00", Blame.UNKNOWN),
        ("100 : assumedly after job", "137                  (Killed)", "22:01:49", Blame.SYSTEM),
        ("37  : qmaster enforced h_rt, h_cpu, or h_vmem limit", "137", "22:01:50", Blame.SYSTEM),
        ("37  : qmaster enforced h_rt, h_cpu, or h_vmem limit", "137", "21:05:00", Blame.TRIAL),
        ("8   : in prolog", "0", "21:01:50", Blame.SYSTEM),
    ],
)
def test_grid_engine_accounting_says_whose_doing_an_end_was(
    failed: str, status: str, end: str, blame: Blame
) -> None:
    job = sge(failed, status, end)
    assert (job.phase, job.blame) == (Phase.ENDED, blame)
    assert (job.nodes, job.cpus, job.gpus) == ("qb3-id95", 10, 2)


def test_grid_engine_counts_restarts_and_reads_univas_times() -> None:
    once = SGE_QACCT.format(failed="25  : rescheduling", status="0", end="21:30:00")
    again = SGE_QACCT.format(failed="0", status="0", end="21:40:00")
    univa = again.replace("Wed Feb 12 21:01:50 2020", "02/12/2020 21:01:50.123")
    job = parse_qacct(once + univa)["191442"]
    assert (job.restarts, job.seconds) == (1, 38 * 60 + 10)


CONDOR = """[
{{
  "ClusterId": 1234,
  "ProcId": 0,
  "JobStatus": {status},
  "JobStartDate": 1700000000,
  "JobCurrentStartDate": 1700000100,
  "CompletionDate": {completed},
  "EnteredCurrentStatus": 1700000400,
  "LastRemoteHost": "slot1_3@wn042.example.org",
  "NumJobStarts": 2,
  "RequestCpus": 8,
  "CpusProvisioned": 8,
  "RequestGPUs": "\\/Expr(ifThenElse(true,2,1))\\/",
  "GPUsProvisioned": 2,
  "AllowedJobDuration": 3600{more}
}}
]
"""


def condor(status: int, completed: int = 0, more: str = ""):
    return parse_condor(CONDOR.format(status=status, completed=completed, more=more))["1234.0"]


def test_htcondor_tells_where_a_job_runs_and_until_when() -> None:
    job = condor(2)
    assert (job.phase, job.nodes, job.cpus, job.gpus) == (Phase.RUNNING, "wn042.example.org", 8, 2)
    assert (job.began, job.ends, job.restarts) == (1700000100, 1700003700, 1)
    assert condor(1).phase is Phase.PENDING
    assert math.isnan(condor(1).began)


@pytest.mark.parametrize(
    ("status", "more", "blame"),
    [
        (4, ', "ExitBySignal": false, "ExitCode": 0', Blame.UNKNOWN),
        (4, ', "ExitBySignal": true, "ExitSignal": 15', Blame.SYSTEM),
        (4, ', "ExitBySignal": true, "ExitSignal": 9', Blame.UNKNOWN),
        (3, ', "RemoveReason": "via condor_rm (by user alice)"', Blame.SYSTEM),
        (3, ', "LastHoldReasonCode": 34, "RemoveReason": "PeriodicRemove"', Blame.TRIAL),
        (5, ', "HoldReasonCode": 34, "HoldReason": "memory usage exceeded"', Blame.TRIAL),
        (5, ', "HoldReasonCode": 6, "HoldReason": "Error from slot1: failed"', Blame.SYSTEM),
        (5, ', "HoldReasonCode": 26, "HoldReason": "Job runtime or memory"', Blame.UNKNOWN),
    ],
)
def test_htcondor_says_whose_doing_an_end_was(status: int, more: str, blame: Blame) -> None:
    job = condor(status, 1700000400 if status == 4 else 0, more)
    assert (job.phase, job.blame, job.seconds) == (Phase.ENDED, blame, 300)


def test_htcondor_writes_nothing_where_there_are_no_jobs() -> None:
    assert parse_condor("\n") == {}
    with pytest.raises(Unreachable, match="JSON"):
        parse_condor("-- Failed to fetch ads from: <10.0.0.1:9618>")


OAR = """{
   "36627" : {
      "types" : [],
      "reservation" : "None",
      "Job_Id" : 36627,
      "assigned_network_address" : [ "gengar-1", "gengar-2" ],
      "owner" : "diogo464",
      "startTime" : 1751979909,
      "stopTime" : %(stop)d,
      "walltime" : 3600,
      "queue" : "default",
      "state" : "%(state)s",
      "assigned_resources" : [ 419, 420, 421, 422 ],
      "wanted_resources" : "-l \\"{type = 'default'}/nodes=1/gpunum=2,walltime=1:0:0\\" ",
      "name" : "hpo-a1b2",
      "exit_code" : %(code)s,
      "message" : "R=16,W=12:0:0,J=B (Karma=0.087,quota_ok)",
      "events" : [ %(events)s ],
      "command" : "sleep 365d"
   },
   "36628" : { "state" : "Waiting", "name" : null, "startTime" : 0 }
}
"""


def oar(state: str, *, code: str = "null", stop: int = 0, event: str = ""):
    events = f'{{"type" : "{event}", "job_id" : 36627}}' if event else ""
    text = OAR % {"state": state, "code": code, "stop": stop, "events": events}
    return parse_oarstat(text, "hpo-a1b2")


def test_oar_lists_the_jobs_of_a_name() -> None:
    jobs = oar("Running")
    assert list(jobs) == ["36627"]
    job = jobs["36627"]
    assert (job.phase, job.nodes, job.cpus, job.gpus) == (
        Phase.RUNNING,
        "gengar-1,gengar-2",
        4,
        4,
    )
    assert job.ends == job.began + 3600
    assert parse_oarstat("null") == {}


@pytest.mark.parametrize(
    ("state", "code", "event", "blame"),
    [
        ("Error", "null", "WALLTIME", Blame.SYSTEM),
        ("Error", "9", "BESTEFFORT_KILL", Blame.SYSTEM),
        ("Error", "null", "FRAG_JOB_REQUEST", Blame.SYSTEM),
        ("Error", "null", "PROLOGUE_ERROR", Blame.SYSTEM),
        ("Terminated", "0", "", Blame.UNKNOWN),
        ("Terminated", "256", "", Blame.UNKNOWN),
        ("Terminated", "36608", "", Blame.SYSTEM),  # 143 x 256
        ("Error", "15", "", Blame.SYSTEM),
        ("Error", "9", "", Blame.UNKNOWN),
    ],
)
def test_oar_events_and_exit_codes_say_whose_doing_an_end_was(
    state: str, code: str, event: str, blame: Blame
) -> None:
    job = oar(state, code=code, stop=1751980009, event=event)["36627"]
    assert (job.phase, job.blame, job.seconds) == (Phase.ENDED, blame, 100)


class Desk:
    """Answers commands from a table of what each writes; remembers what it was asked."""

    def __init__(self, **answers: Answer | str) -> None:
        self.answers = answers
        self.asked: list[list[str]] = []
        self.stdin: list[str] = []

    def __call__(self, command, *, stdin: str = "", environment=None) -> Answer:
        self.asked.append(list(command))
        self.stdin.append(stdin)
        answer = self.answers.get(command[0], "")
        answer = answer(command) if callable(answer) else answer
        return Answer(command, 0, answer) if isinstance(answer, str) else answer


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A batch system whose commands exist and answer as they are told."""
    monkeypatch.setattr("shutil.which", lambda program: f"/usr/bin/{program}")

    def make(kind: str, **answers: Answer | str) -> tuple[Queue, Desk]:
        desk = Desk(**answers)
        cls = job_class(kind)
        return Queue(kind, "hpo-a1b2", directory=tmp_path, job_cls=cls, ask=desk), desk

    return make


@pytest.mark.parametrize(
    ("kind", "program", "says", "number"),
    [
        ("pbs", "qsub", "1234.kman.example.org\n", "1234.kman.example.org"),
        ("lsf", "bsub", "Job <5678> is submitted to queue <normal>.\n", "5678"),
        ("sge", "qsub", 'Your job 91011 ("hpo-a1b2") has been submitted\n', "91011"),
        (
            "htcondor",
            "condor_submit",
            "Submitting job(s).\n1 job(s) submitted to cluster 7.\n",
            "7.0",
        ),
        ("oar", "oarsub", "[ADMISSION RULE] Set walltime\nOAR_JOB_ID=42\n", "42"),
    ],
)
def test_the_id_of_a_batch_job_is_in_what_its_submission_says(
    queue, kind: str, program: str, says: str, number: str, tmp_path: Path
) -> None:
    system, _ = queue(kind, **{program: says})
    assert system.submit("#!/bin/bash\ntrue\n") == number
    assert list(tmp_path.iterdir()) == []


def test_lsf_reads_the_script_from_its_standard_input(queue) -> None:
    system, desk = queue("lsf", bsub="Job <1> is submitted")
    system.submit("#!/bin/bash\n#BSUB -q x\ntrue\n")
    assert desk.asked == [["bsub"]]
    assert desk.stdin == ["#!/bin/bash\n#BSUB -q x\ntrue\n"]


def test_oar_gets_directives_as_options_and_the_rest_as_a_command(queue) -> None:
    system, desk = queue("oar", oarsub="OAR_JOB_ID=1")
    system.submit(
        "#!/bin/bash\n\n#OAR -n hpo-a1b2\n#OAR -p 'mem > 4'\nexport A=1\nexec python -m x\n"
    )
    words = ["oarsub", "-n", "hpo-a1b2", "-p", "mem > 4", "export A=1\nexec python -m x\n"]
    assert desk.asked == [words]


@pytest.mark.parametrize(
    ("kind", "program", "says", "final"),
    [
        ("pbs", "qsub", "qsub: Unknown queue", True),
        ("pbs", "qsub", "qsub: would exceed queue generic's per-user limit", False),
        ("pbs", "qsub", "qsub: cannot connect to server kman (errno=111)", False),
        ("sge", "qsub", "Unable to run job: job rejected: no access to project", True),
        (
            "sge",
            "qsub",
            "Unable to run job: job rejected: only 10 jobs are allowed per user",
            False,
        ),
        ("htcondor", "condor_submit", "ERROR: Failed to connect to local queue manager", False),
        ("lsf", "bsub", "No such queue. Job not submitted.", True),
    ],
)
def test_a_refusal_that_may_pass_is_told_from_one_that_stays(
    queue, kind: str, program: str, says: str, final: bool
) -> None:
    system, _ = queue(kind, **{program: Answer([program], 1, "", says)})
    with pytest.raises(SubmitError) as caught:
        system.submit("true\n")
    assert caught.value.final is final
    assert says in str(caught.value)
    if "queue" in says and final:
        assert "pool.queue" in str(caught.value)


def test_a_machine_without_the_commands_is_said_to_have_none(tmp_path: Path) -> None:
    system = make_system("oar", "hpo-a1b2", directory=tmp_path)
    with pytest.raises(SubmitError, match="no oarsub on this machine") as caught:
        system.submit("true\n")
    assert caught.value.final
    with pytest.raises(CampaignError, match="login node"):
        system.check("true\n")
    with pytest.raises(Unreachable, match="oarstat cannot be run"):
        system.jobs()
    with pytest.raises(CampaignError, match="pool.kind='loadleveler'"):
        make_system("loadleveler", "hpo-a1b2", directory=tmp_path)


def test_a_queue_that_does_not_exist_is_found_before_anything_is_submitted(queue) -> None:
    system, _ = queue("pbs", qstat=Answer(["qstat"], 170, "", "qstat: Unknown queue goldd"))
    with pytest.raises(CampaignError, match=r"pool.queue='goldd'.*Unknown queue"):
        system.check("#!/bin/bash\n#PBS -N hpo\n#PBS -q goldd\ntrue\n")
    calm, _ = queue("pbs", qstat="Queue Max\n")
    calm.check("#!/bin/bash\n#PBS -q gold\ntrue\n")


def test_jobs_are_those_not_over_and_those_asked_for(queue) -> None:
    system, desk = queue("pbs", qselect="4521.kman\n", qstat=PBS_FINISHED.format(status=0))
    assert system.jobs() == {}
    assert list(system.jobs(["4521.kman"])) == ["4521.kman"]
    assert ["qstat", "-x", "-f", "4521.kman"] in desk.asked


def test_pbs_without_a_memory_of_finished_jobs_is_asked_without(queue) -> None:
    def qstat(command: list[str]) -> Answer:
        if "-x" in command:
            return Answer(command, 1, "", "qstat: PBS is not configured to maintain job history")
        return Answer(command, 153, "", "qstat: Unknown Job Id 7.kman")

    system, desk = queue("pbs", qselect="", qstat=qstat)
    assert system.jobs(["7.kman"]) == {}
    assert system.jobs(["7.kman"]) == {}
    assert [command for command in desk.asked if "-x" in command] == [
        ["qstat", "-x", "-f", "7.kman"]
    ]


def test_a_server_that_is_down_is_no_news_about_any_job(queue) -> None:
    system, _ = queue(
        "pbs",
        qselect="7.kman\n",
        qstat=Answer(["qstat"], 111, "", "Connection refused\nqstat: cannot connect to server"),
    )
    with pytest.raises(Unreachable, match="cannot connect"):
        system.jobs(["7.kman"])


def test_an_older_lsf_is_asked_without_gpus(queue) -> None:
    def bjobs(command: list[str]) -> Answer:
        if "gpu_num" in " ".join(command):
            return Answer(command, 255, "", "Undefined field name: gpu_num")
        return Answer(command, 0, LSF % {"code": "", "reason": ""})

    system, desk = queue("lsf", bjobs=bjobs)
    assert sorted(system.jobs()) == ["22005", "22006"]
    assert sorted(system.jobs(["22007"])) == ["22005", "22006", "22007"]
    assert len(desk.asked) == 3


def test_condor_is_asked_for_its_history_only_of_what_has_left_the_queue(queue) -> None:
    gone = CONDOR.format(status=4, completed=1700000400, more=', "ExitCode": 0')
    system, desk = queue("htcondor", condor_q="", condor_history=gone)
    assert system.jobs() == {}
    assert [command[0] for command in desk.asked] == ["condor_q"]
    assert system.jobs(["1234.0"])["1234.0"].phase is Phase.ENDED
    assert "(ClusterId == 1234 && ProcId == 0)" in desk.asked[-1]


def test_grid_engine_is_asked_for_its_accounting_only_of_what_has_left_the_queue(queue) -> None:
    system, desk = queue(
        "sge", qstat=SGE_QSTAT, qacct=Answer(["qacct"], 1, "", "error: job id 5 not found")
    )
    assert sorted(system.jobs(["113254", "5"])) == ["113254", "113255"]
    assert [command for command in desk.asked if command[0] == "qacct"] == [["qacct", "-j", "5"]]


def test_cancelling_what_is_over_is_no_error(queue) -> None:
    system, desk = queue("oar", oardel=Answer(["oardel"], 1, "", "job 7 is already over"))
    system.cancel(["7", "8"])
    system.cancel([])
    assert desk.asked == [["oardel", "7", "8"]]


IMPORT = """
import signal, threading
before = signal.getsignal(signal.SIGINT)
from daskhpo.cluster.systems import job_class
found = []
thread = threading.Thread(target=lambda: found.append(job_class("slurm").submit_command))
thread.start(), thread.join()
assert found == ["sbatch"], found
assert signal.getsignal(signal.SIGINT) is before
signal.signal(signal.SIGINT, signal.SIG_IGN)
assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
"""


def test_dask_jobqueue_leaves_ctrl_c_alone_and_can_be_imported_anywhere() -> None:
    subprocess.run([sys.executable, "-c", IMPORT], check=True)
