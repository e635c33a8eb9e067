"""A campaign that runs elsewhere, as an object: for notebooks, and for ``daskhpo attach``."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskhpo.analysis.news import News
from daskhpo.analysis.reading import Reading
from daskhpo.analysis.summary import Summary, summary
from daskhpo.cluster.driverjob import Relay
from daskhpo.exceptions import DaskhpoError
from daskhpo.store.frames import trials_frame
from daskhpo.store.lock import Holder
from daskhpo.store.requests import request_stop
from daskhpo.trial import Trial
from daskhpo.tuner.view import to_html

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

    from daskhpo.study import Study

__all__ = ["Attached", "Dashboard", "attach"]

PATIENCE = 10.0  # seconds for the scheduler to answer


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Where Dask's dashboard is, as seen from the machine of the driver.

    Parameters
    ----------
    host : str
        That machine.
    port : int
        It listens there, to that machine only.

    Examples
    --------
    >>> print(Dashboard("login3", 8787))
    http://127.0.0.1:8787/status on login3; from elsewhere first ssh -N -L 8787:127.0.0.1:8787 \
login3 (add -J LOGIN-NODE from outside)
    """

    host: str
    port: int

    @property
    def link(self) -> str:
        """For a browser on that machine, or behind the tunnel."""
        return f"http://127.0.0.1:{self.port}/status"

    @property
    def tunnel(self) -> str:
        """What makes the link work elsewhere; empty where it works already."""
        if self.host in ("localhost", socket.gethostname()):
            return ""
        return f"ssh -N -L {self.port}:127.0.0.1:{self.port} {self.host}"

    def __str__(self) -> str:
        if not self.tunnel:
            return self.link
        more = f"from elsewhere first {self.tunnel} (add -J LOGIN-NODE from outside)"
        return f"{self.link} on {self.host}; {more}"


class Attached:
    """Follow a campaign that another process drives, on whatever machine; made by :func:`attach`.

    Everything is read from the campaign directory; nothing is changed but by :meth:`stop`.

    Parameters
    ----------
    path : path
        The campaign directory.

    Attributes
    ----------
    study : Study
        As of the last :meth:`refresh`.

    Raises
    ------
    StoreError
        If there is no campaign at the path.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._reading = Reading(path).catch_up()
        self._news = News(self._reading.campaign, self._reading.study)

    def refresh(self) -> Attached:
        """Read what is new; returns itself."""
        self.news()
        return self

    def news(self) -> list[str]:
        """Read what is new, and say what of it people want to know, a line each."""
        return [line for fact in self._reading.facts() for line in self._news.read(fact)]

    @property
    def path(self) -> Path:
        """The campaign directory."""
        return self._reading.directory.path

    @property
    def study(self) -> Study:
        """The study, as far as it was read."""
        return self._reading.study

    @property
    def trials(self) -> pd.DataFrame:
        """One row per trial; see :attr:`daskhpo.tuner.Tuner.trials`."""
        return trials_frame(self.study)

    @property
    def best(self) -> Trial | None:
        """The incumbent."""
        return self.study.best

    @property
    def driver(self) -> Holder | None:
        """Who drives it just now; None if nobody does, as far as can be seen here."""
        return self._reading.driver

    @property
    def coming(self) -> str:
        """The batch jobs that drive it or are to, one after the other; empty for none."""
        relay = Relay.read(self.path)
        return ", then ".join(filter(None, (relay.batch, relay.successor)))

    @property
    def unit(self) -> str:
        """What a step is."""
        return self._reading.campaign.unit

    def status(self) -> Summary:
        """How it stands: ``print(attached.status().to_text())``."""
        return summary(self.refresh().study, self._reading.campaign)

    def client(self) -> Client:
        """A Dask client of the scheduler that the driver has; to be closed by the caller.

        Raises
        ------
        DaskhpoError
            If there is none, or it does not answer.
        """
        from distributed import Client

        address = str(self._scheduler().get("address", ""))
        if not address:
            raise DaskhpoError(
                f"{self.path} has no scheduler now: nobody drives it with batch jobs; see "
                f"`daskhpo status {self.path}`, go on with `daskhpo resume {self.path}`"
            )
        try:
            return Client(address, security=self._security(address), timeout=PATIENCE)
        except OSError as error:
            raise DaskhpoError(
                f"the scheduler of {self.path} does not answer at {address} ({error}): its driver "
                "is gone, or this machine does not reach it; try a node of the same network"
            ) from error

    @property
    def dashboard(self) -> Dashboard | None:
        """Where Dask's dashboard is; None if there is none now."""
        scheduler = self._scheduler()
        port = scheduler.get("services", {}).get("dashboard")
        if not port:
            return None
        address = str(scheduler.get("address", "")).partition("://")[2].rpartition(":")[0]
        driver = self.driver
        return Dashboard(driver.host if driver is not None else address, int(port))

    def stop(self, reason: str = "asked to stop") -> None:
        """Ask the driver to end; see :func:`daskhpo.store.requests.request_stop`."""
        request_stop(self.path, reason)

    def __repr__(self) -> str:
        study, best = self.study, self.study.best
        incumbent = f", best {best.best_value:.6g} @ trial {best.number}" if best else ""
        counts = f"{len(study.trials)} trials, {len(study.running)} running"
        return f"<Attached {self._reading.campaign.name!r}: {counts}{incumbent}>"

    def _repr_html_(self) -> str:
        self.refresh()
        dashboard = self.dashboard
        link = dashboard.link if dashboard is not None else None
        card = to_html(self._reading.campaign.name, self.study, self.path, link)
        lines = [f"driver: {self.driver or 'none at work'}"]
        if dashboard is not None and dashboard.tunnel:
            lines.append(f"for the dashboard: {dashboard.tunnel}")
        return card + "".join(f"<div>{escape(line)}</div>" for line in lines)

    def _scheduler(self) -> dict[str, Any]:
        """What the scheduler of the moment says of itself; empty if there is none."""
        try:
            text = Path(self.path, "pool", "scheduler.json").read_text(encoding="utf-8")
            content = json.loads(text)
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _security(self, address: str) -> Any:
        if not address.startswith("tls://"):
            return None
        from daskhpo.cluster.tls import campaign_security

        return campaign_security(self.path)


def attach(path: str | os.PathLike[str]) -> Attached:
    """Follow a campaign that another process drives: a batch job, a login node, a notebook.

    Use it in a notebook to look at what ``daskhpo submit`` has started: the object shows itself.

    Parameters
    ----------
    path : path
        The campaign directory.

    Returns
    -------
    Attached
        With ``trials``, ``best``, ``status()``, ``refresh()``, ``client()``, ``dashboard`` and
        ``stop()``.

    Raises
    ------
    StoreError
        If there is no campaign at the path.

    Examples
    --------
    >>> import tempfile
    >>> from daskhpo import Fifo, Float, Space, Tuner
    >>> def objective(trial):
    ...     for epoch in trial.steps():
    ...         trial.report(loss=trial.params["x"] / epoch)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tuner = Tuner(objective, Space(x=Float(0, 1)), metric="loss", sampler="random",
    ...                   scheduler=Fifo(max_step=2), path=folder + "/first")
    ...     tuner.debug(trials=3)
    ...     attached = attach(folder + "/first")
    ...     len(attached.trials), attached.best.number == tuner.best.number
    (3, True)
    """
    return Attached(path)
