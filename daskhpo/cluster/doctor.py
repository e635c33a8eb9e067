"""Can campaigns run here, and if not, what is to be done? Looks, asks a node, and says.

First this machine and the campaign's directory (:mod:`daskhpo.cluster.examine`), then one small
batch job that connects back and is asked what a node is like (:mod:`daskhpo.cluster.probe`,
:mod:`daskhpo.cluster.interview`).
"""

from __future__ import annotations

import contextlib
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from daskhpo.cluster import examine
from daskhpo.cluster.batch import BatchSystem
from daskhpo.cluster.errand import errand_script
from daskhpo.cluster.findings import Finding, Level
from daskhpo.cluster.interview import interview
from daskhpo.cluster.probe import (
    Listener,
    NoAnswer,
    own_addresses,
    probe_command,
)
from daskhpo.cluster.processes import Processes
from daskhpo.cluster.script import WorkerNeeds, batch_script, lifetime_of
from daskhpo.cluster.settings import PoolSettings, walltime_seconds
from daskhpo.cluster.shared import check_interface
from daskhpo.cluster.site import Site
from daskhpo.cluster.systems import make_system
from daskhpo.exceptions import CampaignError, DaskhpoError
from daskhpo.store.disk import disk_error

__all__ = ["Case", "diagnose"]

BRIEF = "00:10:00"  # of the probe job: short ones slip into gaps of the queue
NAME = "hpo-doctor"
HERE = Site("this machine", "slurm", {}, node_local=())  # for pools of kind local

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Case:
    """What the doctor is to look at.

    Parameters
    ----------
    settings : PoolSettings
        As a campaign file would have them.
    site : Site or None
        None for ``kind="local"``.
    directory : Path
        Where campaigns are to lie; exists.
    patience : float
        Seconds that the probe job may wait in the queue.
    say : callable
        Takes a line on what is being waited for.

    Examples
    --------
    >>> Case(PoolSettings(), None, Path(".")).interface
    ''
    """

    settings: PoolSettings
    site: Site | None
    directory: Path
    patience: float = 600.0
    say: Say = field(default=lambda line: None)

    @property
    def interface(self) -> str:
        """The one by which workers are to find the scheduler, as far as the site says."""
        options = self.site.options if self.site is not None else {}
        scheduler = options.get("scheduler-options") or {}
        return str(scheduler.get("interface") or options.get("interface") or "")

    @property
    def gpus(self) -> int:
        """Of a batch job."""
        if self.settings.gpus is not None:
            return self.settings.gpus
        return self.site.gpus if self.site is not None else 0


def diagnose(case: Case, *, job: bool = True) -> Iterator[Finding]:
    """Look at everything, in the order in which one thing needs the other.

    Parameters
    ----------
    case : Case
        What to look at.
    job : bool
        Whether to ask a node too. The probe job is cancelled when the iterator is closed.

    Yields
    ------
    Finding
        As they come; waits in between.

    Examples
    --------
    >>> found = list(diagnose(Case(PoolSettings(), None, Path(".")), job=False))
    >>> [finding.what for finding in found][:3]
    ['program', 'directory', 'disk']
    """
    healthy = True
    for finding in _look_here(case):
        healthy = healthy and not (finding.level is Level.FAILURE and finding.what in _NEEDED)
        yield finding
    if not job:
        return
    if not healthy:
        said = "not sent: it could not start, or nobody would see its answer"
        yield Finding("probe job", Level.WARNING, said, "mend the failures above first")
        return
    yield from _ask_a_node(case)


# Without these there is no probe job.
_NEEDED = frozenset(
    {"batch commands", "batch system", "worker jobs", "interface", "program", "directory", "locks"}
)


def _look_here(case: Case) -> Iterator[Finding]:
    site, path = case.site, case.directory
    places = {"python": sys.prefix, "daskhpo": str(Path(__file__).parents[1])}
    if site is not None and site.options.get("python"):
        del places["python"]  # nodes use another one
    yield examine.check_program(site or HERE, places)
    yield examine.check_directory(site or HERE, path)
    yield examine.check_room(path)
    yield (writable := examine.check_locks(path))
    if site is not None and case.settings.tls:
        yield examine.check_keys(path)
    yield examine.check_clock(path)
    yield examine.check_open_files()
    yield examine.check_process_limits()
    if site is None:
        return
    yield _check_interface(site)
    yield (finding := examine.check_commands(site.kind))
    if finding.level is not Level.FAILURE:
        yield (finding := examine.check_answers(site.kind))
    if Level.FAILURE not in (finding.level, writable.level):
        yield _check_workers(case, site)


def _check_workers(case: Case, site: Site) -> Finding:
    """Whether the batch system takes the batch job of a worker of this case."""
    with _room(case.directory) as folder:
        needs = WorkerNeeds(folder, "doctor")
        system = make_system(site.kind, NAME, directory=folder)
        return examine.check_script(lambda: system.check(batch_script(site, case.settings, needs)))


def _check_interface(site: Site) -> Finding:
    try:
        check_interface(site)
    except CampaignError as error:
        cure = "name one that this machine has as scheduler-options: {interface: NAME} of the site"
        return Finding("interface", Level.FAILURE, str(error), cure)
    named = site.options.get("interface") or "none named: whatever leads to the nodes"
    return Finding("interface", Level.OK, str(named))


def _ask_a_node(case: Case) -> Iterator[Finding]:
    with contextlib.ExitStack() as things:
        folder = things.enter_context(_room(case.directory))
        listener = things.enter_context(Listener(own_addresses(case.interface)))
        job = _probe_job(case, listener, folder)
        system, script, asked = things.enter_context(job)
        try:
            batch = system.submit(script)
        except DaskhpoError as error:
            cure = "mend what it names, or run this on a machine that may submit: a login node"
            yield Finding("probe job", Level.FAILURE, str(error), cure)
            return
        try:
            logs, patience = folder / "pool" / "logs", case.patience
            with listener.wait(
                system, batch, patience=patience, logs=logs, say=case.say
            ) as channel:
                yield Finding("probe job", Level.OK, f"batch job {batch} has connected")
                yield from interview(
                    channel,
                    token=listener.token,
                    folder=folder,
                    interface=case.interface,
                    gpus=case.gpus,
                    asked=asked,
                )
        except NoAnswer as error:
            yield Finding("probe job", Level.FAILURE, str(error), error.cure)
        finally:
            system.cancel([batch])


@contextlib.contextmanager
def _probe_job(
    case: Case, listener: Listener, folder: Path
) -> Iterator[tuple[BatchSystem, str, float | None]]:
    """Who runs the probe job, its script, and the walltime in seconds that it asks for."""
    site, settings = case.site, case.settings
    if site is None:
        command = probe_command("", listener.request)
        with Processes(folder / "pool" / "logs") as processes:
            yield processes, f"exec {shlex.join(command)}", None
        return
    if lifetime_of(site, settings) > walltime_seconds("walltime", BRIEF):
        settings = replace(settings, walltime=BRIEF)
    command = probe_command(str(site.options.get("python") or ""), listener.request)
    script = errand_script(site, settings, command, name=NAME, directory=folder)
    system = make_system(site.kind, NAME, directory=folder)
    yield system, script, lifetime_of(site, settings)


@contextlib.contextmanager
def _room(directory: Path) -> Iterator[Path]:
    """A folder of our own in the campaign's directory, which goes when we do."""
    try:
        with tempfile.TemporaryDirectory(
            prefix=".daskhpo-doctor-", dir=directory.resolve(), ignore_cleanup_errors=True
        ) as folder:
            yield Path(folder)
    except OSError as error:
        raise disk_error("write", directory, error) from error
