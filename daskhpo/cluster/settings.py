"""Which workers a campaign asks for: the ``pool`` section of a campaign file."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from daskhpo.exceptions import CampaignError

__all__ = ["KINDS", "SYSTEMS", "PoolSettings", "walltime_seconds"]

SYSTEMS = ("slurm", "pbs", "lsf", "sge", "htcondor", "oar")
KINDS = ("local", *SYSTEMS, "allocation")

_WALLTIME = re.compile(r"(?:(?P<d>\d+)-)?(?:(?P<h>\d+):)?(?P<m>\d+)(?::(?P<s>\d\d))?")


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Where workers come from, and how many batch jobs there may be.

    What is empty here is as the site says; what the site does not say either is as in
    dask-jobqueue's own configuration (``~/.config/dask/jobqueue.yaml``).

    Parameters
    ----------
    kind : str
        ``"local"``: processes of this machine. ``"slurm"``, ``"pbs"``, ``"lsf"``, ``"sge"``,
        ``"htcondor"``, ``"oar"``: a batch job per worker. ``"allocation"``: the nodes of the Slurm
        job that the driver itself runs in.
    site : str
        Name of a preset (``jobqueue/NAME.yaml``), or the path of a file like those.
    jobs : int
        Batch jobs, so workers, at the same time, at the most.
    queue, account : str
        The partition, and who pays.
    walltime : str
        Of a batch job: ``"HH:MM:SS"`` or ``"D-HH:MM:SS"``.
    directives : sequence of str
        Further directives of the batch script, such as ``"--constraint=a100"``.
    gpus : int, optional
        GPUs of a batch job; by default as the site says.
    submissions : int, optional
        How many batch jobs may be submitted in all, over all runs.
    gpu_hours : float, optional
        What batch jobs may hold in all, over all runs, used or idle.
    margin : float
        Seconds before the end of its batch job at which a trial leaves, beyond the time that
        saving it takes.
    idle : float
        Seconds after which a worker that nothing is left for is let go.
    tls : bool
        Encrypt and authenticate everything between Dask's processes.

    Examples
    --------
    >>> PoolSettings(kind="slurm", site="juwels-booster", jobs=16, walltime="02:00:00").jobs
    16
    """

    kind: str = "local"
    site: str = ""
    jobs: int = 1
    queue: str = ""
    account: str = ""
    walltime: str = ""
    directives: Sequence[str] = ()
    gpus: int | None = None
    submissions: int | None = None
    gpu_hours: float | None = None
    margin: float = 60.0
    idle: float = 60.0
    tls: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise CampaignError(f"pool.kind={self.kind!r}: must be one of {', '.join(KINDS)}")
        for name in ("site", "queue", "account", "walltime"):
            if not isinstance(getattr(self, name), str):
                raise CampaignError(
                    f"pool.{name}={getattr(self, name)!r}: must be a text"
                    + (" such as '02:00:00' (with quotes in YAML)" if name == "walltime" else "")
                )
        if self.walltime:
            walltime_seconds("pool.walltime", self.walltime)
        if isinstance(self.directives, str) or not all(
            isinstance(each, str) and each for each in self.directives
        ):
            raise CampaignError(f"pool.directives={self.directives!r}: must be a list of texts")
        if not isinstance(self.tls, bool):
            raise CampaignError(f"pool.tls={self.tls!r}: must be true or false")
        self._check_numbers()

    def _check_numbers(self) -> None:
        for name, least in (("jobs", 1), ("gpus", 0), ("submissions", 1)):
            value = getattr(self, name)
            if value is None and name != "jobs":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise CampaignError(
                    f"pool.{name}={value!r}: must be an integer of at least {least}"
                )
        for name in ("gpu_hours", "margin", "idle"):
            value = getattr(self, name)
            if value is None and name == "gpu_hours":
                continue
            good = isinstance(value, int | float) and not isinstance(value, bool)
            if not good or not 0 <= value < math.inf or (name == "gpu_hours" and value == 0):
                allowed = "above 0" if name == "gpu_hours" else "of at least 0"
                raise CampaignError(f"pool.{name}={value!r}: must be a number {allowed}")


def walltime_seconds(name: str, text: str) -> float:
    """Seconds of a walltime as Slurm writes it: ``[D-]HH:MM:SS``, ``MM:SS`` or minutes.

    Parameters
    ----------
    name : str
        Of the setting, for the message.
    text : str
        The walltime.

    Raises
    ------
    CampaignError
        If it is none.

    Examples
    --------
    >>> walltime_seconds("walltime", "1-02:00:30"), walltime_seconds("walltime", "90")
    (93630.0, 5400.0)
    """
    found = _WALLTIME.fullmatch(text)
    days, hours, minutes, seconds = (
        (int(found[part] or 0) for part in "dhms") if found else (0, 0, 0, 0)
    )
    # "90" is minutes and "10:30" minutes and seconds, but "1-12" is days and hours.
    if found and found["s"] is None:
        if found["d"] is None and found["h"] is not None:
            hours, minutes, seconds = 0, hours, minutes
        elif found["d"] is not None and found["h"] is None:
            hours, minutes = minutes, 0
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if not found or total <= 0:
        raise CampaignError(
            f"{name}={text!r}: must be a walltime such as '02:00:00' (hours, minutes, seconds), "
            "'1-00:00:00' (a day) or '90' (minutes)"
        )
    return float(total)
