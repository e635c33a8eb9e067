"""A campaign as a reader sees it, also while its driver writes."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator

from daskhpo.campaign import Campaign
from daskhpo.store.directory import CampaignDirectory
from daskhpo.store.lock import Holder
from daskhpo.trial import Fact

__all__ = ["Reading"]


class Reading:
    """Replay a campaign's journal, and go on as it grows. Never takes the lock.

    Parameters
    ----------
    path : path
        The campaign directory, or a copy of one.

    Attributes
    ----------
    campaign : Campaign
        What was asked.
    study : Study
        As far as the facts were read.

    Raises
    ------
    StoreError
        If there is no campaign at the path, or (while reading) its journal is damaged. A torn
        last line is no damage: see :attr:`torn`.
    ReplayError
        While reading, if the journal does not lead to its own decisions.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from daskhpo import ASHA, Float, Space, Tuner
    >>> def objective(trial):
    ...     for epoch in trial.steps():
    ...         trial.report(loss=trial.params["x"] / epoch)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "first")
    ...     tuner = Tuner(objective, Space(x=Float(0, 1)), metric="loss", sampler="random",
    ...                   scheduler=ASHA(max_step=9, eta=3), path=path)
    ...     tuner.debug(trials=3)
    ...     reading = Reading(path).catch_up()
    ...     len(reading.study.trials), reading.driver
    (3, None)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.directory = CampaignDirectory(path)
        self.campaign = Campaign.from_mapping(self.directory.config())
        self.study = self.campaign.study()
        self._reader = self.directory.reader()

    def facts(self) -> Iterator[Fact]:
        """Yield the facts that are new since the last time, each after the study has seen it."""
        for fact in self._reader:
            self.study.replay((fact,))
            yield fact

    def catch_up(self) -> Reading:
        """Read all there is by now; returns itself."""
        self.study.replay(self._reader)
        return self

    @property
    def torn(self) -> str:
        """What is wrong with the journal's last line, which was left out; empty if nothing is."""
        torn = self._reader.torn
        return f"line {torn.number} of the journal is incomplete ({torn.why})" if torn else ""

    @property
    def driver(self) -> Holder | None:
        """Who writes to the campaign just now; None if nobody does, as far as can be seen here."""
        try:
            holder = Holder(**json.loads(self.directory.lock_path.read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError):
            return None
        if holder.host != socket.gethostname():
            return holder  # on another machine: its own word is all there is
        return holder if holder.same_machine(Holder.myself(name="")) and holder.alive() else None
