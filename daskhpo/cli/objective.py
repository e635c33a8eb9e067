"""From a campaign's ``objective`` or ``command`` to something that can be called."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from daskhpo.campaign import Campaign
from daskhpo.exceptions import CampaignError, ObjectiveError
from daskhpo.scalars import nearest

if TYPE_CHECKING:
    from daskhpo.worker.work import Objective

__all__ = ["find_objective", "module_of"]


def module_of(campaign: Campaign) -> str:
    """The module that workers have to import; empty for a command.

    Examples
    --------
    >>> module_of(Campaign.from_mapping({
    ...     "objective": "training:objective", "metric": "loss", "sampler": "random",
    ...     "space": {"x": [1, 2]}, "scheduler": {"type": "fifo", "max_step": 3}}))
    'training'
    """
    return "" if campaign.command else campaign.objective.partition(":")[0]


def find_objective(campaign: Campaign) -> Objective:
    """Import the objective of a campaign, or make one of its command.

    Modules are looked for in the working directory too, as ``python -m`` does.

    Raises
    ------
    CampaignError
        If there is none, it cannot be imported or is not callable, or the command names a
        parameter that the space does not have.

    Examples
    --------
    >>> campaign = Campaign.from_mapping({
    ...     "objective": "math:sqr", "metric": "loss", "sampler": "random",
    ...     "space": {"x": [1, 2]}, "scheduler": {"type": "fifo", "max_step": 3}})
    >>> find_objective(campaign)
    Traceback (most recent call last):
    daskhpo.exceptions.CampaignError: objective='math:sqr': module 'math' has no 'sqr'; did you \
mean 'sqrt'?
    """
    if campaign.command:
        return _command(campaign)
    text = campaign.objective
    module, colon, name = text.partition(":")
    if not (module and colon and name):
        raise CampaignError(f"objective={text!r}: must be 'module:function', or give a command")
    if module == "__main__" or "<" in name:
        raise CampaignError(
            f"objective={text!r}: was given in Python and cannot be imported; resume the campaign "
            "from the script that made it, with the same path"
        )
    found = _import(text, module)
    for part in name.split("."):
        if not hasattr(found, part):
            close, _, _ = nearest(part, [n for n in dir(found) if n[0] != "_"]).partition("known:")
            hint = f"; {close.strip()}" if close else ""
            raise CampaignError(f"objective={text!r}: module {module!r} has no {part!r}{hint}")
        found = getattr(found, part)
    if not callable(found):
        raise CampaignError(f"objective={text!r}: is {type(found).__name__}, must be a function")
    objective: Objective = found
    return objective


def _import(text: str, module: str) -> Any:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        where = f" (looked in {here} too)" if error.name == module.partition(".")[0] else ""
        raise CampaignError(f"objective={text!r}: {error}{where}") from error
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise CampaignError(f"objective={text!r}: importing it raised {what}") from error


def _command(campaign: Campaign) -> Objective:
    from daskhpo.worker.command import CommandObjective

    objective = CommandObjective(campaign.command, metrics=campaign.metrics_file or None)
    known = ("max_step", "number", "seed", "dir")
    try:
        for template in (campaign.command, campaign.metrics_file):
            objective.fill(template, dict.fromkeys([*campaign.space, *known], "0"))
    except ObjectiveError as error:
        raise CampaignError(str(error)) from error
    return objective
