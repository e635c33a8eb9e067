"""The command line: ``daskhpo``, also mounted as ``dask hpo``.

Exit codes: 0 done, 1 failed, 2 called wrongly or given what is not valid. What is slow to import
is imported by the verb that needs it.
"""

from __future__ import annotations

from typing import Any

import click

import daskhpo
from daskhpo.cli.attaching import attach
from daskhpo.cli.bench import bench
from daskhpo.cli.comparing import compare, reliability
from daskhpo.cli.curves import curves
from daskhpo.cli.doctor import doctor
from daskhpo.cli.hours import hours
from daskhpo.cli.lineage import schedule
from daskhpo.cli.mlpf import mlpf
from daskhpo.cli.options import Failed
from daskhpo.cli.predicting import predict
from daskhpo.cli.reading import best, explain, export, status
from daskhpo.cli.running import resume, run
from daskhpo.cli.simulating import simulate
from daskhpo.cli.submitting import stop, submit
from daskhpo.cli.upkeep import config, rebuild, verify
from daskhpo.exceptions import CampaignError, DaskhpoError, DataError, SchedulerError, SpaceError

__all__ = ["hpo", "main"]

INVALID = (CampaignError, SpaceError, SchedulerError, DataError)  # what the caller can mend


class _Verbs(click.Group):
    """Turns our errors into a message on standard error and an exit code, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except DaskhpoError as error:
            code = 2 if isinstance(error, INVALID) else 1
            raise Failed(str(error), code=code) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which one needs them."""
        return list(self.commands)


@click.group(name="hpo", cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(daskhpo.__version__, prog_name="daskhpo")
def hpo() -> None:
    """Asynchronous hyperparameter tuning on Dask.

    \b
    Example:
      daskhpo run data/quickstart.yaml
      daskhpo status runs/quickstart
      daskhpo explain runs/quickstart 3
    """


for verb in (run, resume, status, best, explain, export, verify, rebuild, curves, mlpf, config):
    hpo.add_command(verb)
hpo.add_command(reliability)
hpo.add_command(compare)
hpo.add_command(predict)
hpo.add_command(doctor)
hpo.add_command(submit)
hpo.add_command(attach)
hpo.add_command(stop)
hpo.add_command(hours)
hpo.add_command(schedule)
hpo.add_command(simulate)
hpo.add_command(bench)

main = hpo
