"""Tune an objective: in this process, or on any Dask cluster."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskhpo.campaign import Campaign, Workers
from daskhpo.cluster.pool import ClientPool, Pool
from daskhpo.exceptions import CampaignError, DaskhpoError, StoreError
from daskhpo.predictors import Predictor, predictor_name
from daskhpo.space import Space
from daskhpo.store.directory import CampaignDirectory
from daskhpo.store.earlier import Earlier
from daskhpo.store.frames import trials_frame
from daskhpo.study import Study
from daskhpo.trial import Trial
from daskhpo.tuner.driver import Driver
from daskhpo.tuner.inline import run_inline
from daskhpo.tuner.pools import pool_of
from daskhpo.tuner.record import describe, find_lessons, known_as, limits, record
from daskhpo.tuner.view import to_html
from daskhpo.worker.work import Objective, Work

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from distributed import Client

__all__ = ["Tuner"]

logger = logging.getLogger(__name__)

Watch = Callable[[Driver, int, int], None]


class Tuner:
    """Find good hyperparameters for an objective, and keep everything that was seen.

    The same objective runs in this process (:meth:`debug`), on a ``LocalCluster``, or on a
    thousand nodes: only the client differs. The campaign lives in the directory ``path``; a
    tuner on a directory that holds the same campaign goes on where that one ended, however it
    ended.

    Parameters
    ----------
    objective : callable
        Takes a :class:`~daskhpo.worker.session.Session`, trains, and reports.
    space : Space
        What to search.
    metric : str
        The reported metric that decides.
    path : path
        The campaign directory, on a file system that all workers see.
    scheduler : mapping or scheduler
        How long trials train: ``ASHA(max_step=100)`` or its campaign-file form.
    sampler : str or mapping
        What to try: ``"bayes"``, ``{"type": "random"}``, ...
    mode : {"min", "max"}
        Direction of the metric.
    **settings
        Further settings of a campaign: ``predictor`` (``"svr"``, or one that was made) and
        ``advice`` (``"log"`` or ``"obey"``), ``also`` (metrics to be traded off), ``warm_start``
        (directories of earlier campaigns to learn from), ``points``, ``seed``, ``retries``,
        ``unit``, ``workers``, ``name``; see :class:`~daskhpo.campaign.Campaign`.

    Raises
    ------
    CampaignError, SpaceError, SchedulerError
        If a setting is not valid, or ``path`` holds a different campaign. Nothing is written then.
        When it runs, also if there is nothing to learn in a directory of ``warm_start``.

    Examples
    --------
    >>> import tempfile
    >>> from daskhpo import ASHA, Float, Space, Tuner
    >>> def objective(trial):
    ...     for epoch in trial.steps():
    ...         trial.report(loss=(trial.params["x"] - 0.3) ** 2 + 1 / epoch)
    >>> tuner = Tuner(objective, Space(x=Float(0, 1)), metric="loss", sampler="random",
    ...               scheduler=ASHA(max_step=9, eta=3), path=tempfile.mkdtemp() + "/first")
    >>> tuner.debug(trials=9)
    >>> len(tuner.trials), tuner.best.state.value
    (9, 'completed')
    """

    def __init__(
        self,
        objective: Objective,
        space: Space,
        *,
        metric: str,
        path: str | Path,
        scheduler: Any,
        sampler: str | Mapping[str, Any] = "bayes",
        mode: str = "min",
        **settings: Any,
    ) -> None:
        if not callable(objective):
            raise CampaignError(f"objective={objective!r}: must be a function that takes a trial")
        form = scheduler if isinstance(scheduler, str | Mapping) else scheduler.settings()
        if isinstance(settings.get("workers"), Workers):
            workers = settings["workers"]
            settings["workers"] = {name: getattr(workers, name) for name in Workers.__slots__}
        if isinstance(settings.get("predictor"), Predictor):
            settings["predictor"] = predictor_name(settings["predictor"])
        campaign = Campaign.from_mapping(
            {
                "name": Path(path).name,
                "objective": describe(objective),
                "metric": metric,
                "space": space.to_dict(),
                "scheduler": form,
                "sampler": sampler,
                "mode": mode,
                **settings,
            }
        )
        self._open(objective, campaign, path)

    @classmethod
    def from_campaign(cls, objective: Objective, campaign: Campaign, path: str | Path) -> Tuner:
        """A tuner of a campaign whose settings were read from a file."""
        tuner = cls.__new__(cls)
        tuner._open(objective, campaign, path)
        return tuner

    def _open(self, objective: Objective, campaign: Campaign, path: str | Path) -> None:
        self.objective = objective
        self.directory = CampaignDirectory(Path(path).absolute())
        self.campaign = known_as(self.directory, campaign)
        self._driver: Driver | None = None
        self._lessons: tuple[Earlier, ...] | None = None  # once read, until they are learned
        self._loop: Any = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._lock = threading.Lock()

    # ------------------------------------------------------------------ running

    def check(self) -> None:
        """Make sure that the campaign could run now: before a cluster is asked for.

        Raises
        ------
        CampaignError
            If there is nothing to learn in a directory of ``warm_start``.
        LockedError
            If another process runs it.
        StoreError
            If the directory holds something else, cannot be written, or is damaged.
        """
        if self.directory.exists():
            with self.directory.writer():
                pass
        else:
            self.directory.check_free()
        self.lessons()

    def lessons(self) -> tuple[Earlier, ...]:
        """What the campaign is going to learn from earlier ones; nothing once it has begun.

        Raises
        ------
        CampaignError
            As :func:`daskhpo.store.earlier.read_earlier`, unless some of it was learned already
            by a driver that died over it: then the campaign goes on with that.
        """
        if self._lessons is None:
            self._lessons = find_lessons(self.campaign, self.directory)
        return self._lessons

    def pool(self) -> contextlib.AbstractContextManager[Pool]:
        """The workers that the ``pool`` settings ask for: ``with tuner.pool() as pool: ...``.

        Batch jobs are submitted as :meth:`run` needs them, not before.

        Raises
        ------
        CampaignError
            On entering, if the settings cannot work here.
        """
        module = self.campaign.objective.partition(":")[0] if self.campaign.objective else ""
        return pool_of(self.campaign, self.directory.path, module=module)

    def run(
        self,
        client: Client | Pool,
        *,
        watch: Watch | None = None,
        keep: bool = False,
        **budget: Any,
    ) -> None:
        """Tune until the budget is spent or nothing is left; blocks.

        Ctrl-C (or SIGTERM) once: nothing new starts, running trials pause with a checkpoint at
        their next report. Twice: they are left behind. Either way the campaign can be resumed.

        Parameters
        ----------
        client : distributed.Client or Pool
            A client of any cluster, or a pool that keeps workers by itself, such as
            :func:`daskhpo.cluster.batchpool.batch_pool`.
        watch : callable, optional
            Called with the driver and the numbers of free and of all slots, twice a second.
        keep : bool
            Leave batch jobs to the next driver where this one has to go before the campaign is
            over: its hours are spent, or it is told to by a signal.
        **budget
            ``trials``, ``steps``, ``hours``, ``device_hours``: see
            :class:`~daskhpo.campaign.Budget`; by default the campaign's own.

        Raises
        ------
        CampaignError
            If there is no budget at all.
        LockedError
            If another process runs this campaign.
        StoreError
            If the campaign directory cannot be written any more.
        """
        self._prepare(client, budget, watch, keep)
        with self._interruptible():
            self._run()
        if self._error is not None:
            raise self._error

    def start(self, client: Client | Pool, *, watch: Watch | None = None, **budget: Any) -> Tuner:
        """As :meth:`run`, but return at once: for notebooks. See :meth:`wait` and :meth:`stop`."""
        self._prepare(client, budget, watch)
        self._thread = threading.Thread(target=self._run, name="daskhpo-tuner", daemon=True)
        self._thread.start()
        return self

    def stop(self, reason: str = "stopped by the user") -> None:
        """End a started run: trials pause at their next report; called twice, they are left."""
        loop = self._loop
        if loop is not None:
            loop.stop(reason)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a started run; True when it has ended. Raises what ended it early."""
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                return False
        if self._error is not None:
            raise self._error
        return True

    def debug(self, *, catch: bool = False, **budget: Any) -> None:
        """Run in this process, one trial at a time, so that a debugger stops in the objective.

        Parameters
        ----------
        catch : bool
            Whether an exception is a failed trial; by default it is raised here.
        **budget
            As for :meth:`run`.
        """
        with self._opened(budget) as driver:
            run_inline(driver, self._work(), catch=catch)

    # ------------------------------------------------------------------ results

    @property
    def study(self) -> Study:
        """The study: live while a run lasts, else replayed from the journal."""
        if self._driver is not None:
            return self._driver.study
        study = self.campaign.study()
        return study.replay(self.directory.facts()) if self.directory.exists() else study

    @property
    def best(self) -> Trial | None:
        """The incumbent."""
        return self.study.best

    @property
    def front(self) -> list[Trial]:
        """The trials that no other beats in every metric: the trade-offs there are (``also``)."""
        return self.study.front

    @property
    def trials(self) -> pd.DataFrame:
        """One row per trial: state, step, values, seconds, and the parameters."""
        return trials_frame(self.study)

    @property
    def curves(self) -> xr.Dataset:
        """Every metric of every trial over steps, with the parameters as coordinates."""
        from daskhpo.store.curves import open_curves

        return open_curves(self.directory.curves_path)

    def __repr__(self) -> str:
        if not self.directory.exists():
            return f"<Tuner {self.campaign.name!r}: not begun, will live in {self.directory.path}>"
        study = self.study
        best = study.best
        incumbent = f", best {best.best_value:.6g} @ trial {best.number}" if best else ""
        running = len(study.running) if self._driver is not None else 0
        counts = f"{len(study.trials)} trials, {running} running"
        return f"<Tuner {self.campaign.name!r}: {counts}{incumbent}>"

    def _repr_html_(self) -> str:
        client = self._loop.client if self._loop is not None else None
        dashboard = client.dashboard_link if client is not None else None
        return to_html(self.campaign.name, self.study, self.directory.path, dashboard)

    # ------------------------------------------------------------------ inside

    def _work(self) -> Work:
        campaign = self.campaign
        return Work(
            campaign=campaign.token,
            objective=self.objective,
            metric=campaign.metric,
            also=tuple(campaign.also),
            max_step=campaign.study().scheduler.max_step,
            seed=campaign.seed,
            path=str(self.directory.path),
            ranks=campaign.workers.ranks,
            nodes=campaign.workers.nodes,
            gpus=campaign.workers.gpus,
            isolate=campaign.workers.isolate,
            warm=campaign.workers.warm,
            margin=campaign.pool.margin,
        )

    def _prepare(
        self,
        where: Client | Pool,
        budget: Mapping[str, Any],
        watch: Watch | None,
        keep: bool = False,
    ) -> None:
        from daskhpo.tuner.loop import DaskLoop

        pool = where if isinstance(where, Pool) else ClientPool(where)
        if pool.client.asynchronous:
            raise CampaignError("client: must be synchronous (Client(..., asynchronous=False))")
        self._error = None
        driver = self._acquire(budget)
        self._loop = DaskLoop(driver, pool, self._work(), watch=watch, keep=keep)

    def _run(self) -> None:
        assert self._driver is not None
        try:
            self._loop.run()
        except StoreError as error:
            self._error = error
            self._driver.abandon()
        except BaseException as error:  # noqa: BLE001 (kept for wait(), raised by run())
            self._error = error
            self._release()
        else:
            self._release()
        finally:
            self._driver = None
            self._loop = None

    def _release(self) -> None:
        assert self._driver is not None
        try:
            self._driver.close()
        except DaskhpoError as error:
            self._error = self._error or error
            self._driver.abandon()

    @contextlib.contextmanager
    def _opened(self, budget: Mapping[str, Any]) -> Iterator[Driver]:
        driver = self._acquire(budget)
        try:
            yield driver
        except StoreError:
            driver.abandon()
            raise
        except BaseException:
            driver.close()
            raise
        else:
            driver.close()
        finally:
            self._driver = None

    def _acquire(self, budget: Mapping[str, Any]) -> Driver:
        """Create the directory if need be, and take it."""
        if self._driver is not None:
            raise CampaignError("this tuner is running already: wait() for it, or stop() it")
        budgets = limits(self.campaign.budget, budget)
        earlier = self.lessons()
        if not self.directory.exists():
            self.directory.create(record(self.campaign))
        self._driver = Driver(self.campaign, self.directory, budgets, earlier=earlier)
        self._lessons = None
        return self._driver

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Turn SIGINT and SIGTERM into :meth:`stop`, where signals can be caught at all."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, lambda caught, _: self._on_signal(caught))
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int) -> None:
        logger.warning(
            "%s: running trials pause at their next report; once more leaves them behind",
            signal.Signals(number).name,
        )
        if self._loop is not None:
            self._loop.stop(f"stopped by {signal.Signals(number).name}", leave=True)
