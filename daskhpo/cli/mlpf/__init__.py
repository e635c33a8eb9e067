"""``daskhpo mlpf``: make particle-flow events, train the network, see what it is worth."""

from __future__ import annotations

import click

from daskhpo.cli.mlpf.before_after import before_after
from daskhpo.cli.mlpf.convert import convert
from daskhpo.cli.mlpf.evaluate import evaluate
from daskhpo.cli.mlpf.events import generate, inspect
from daskhpo.cli.mlpf.train import train
from daskhpo.cli.mlpf.validating import validate_detector

__all__ = ["mlpf"]


@click.group()
def mlpf() -> None:
    """Machine-learned particle flow: events, training, physics.

    \b
    Example:
      daskhpo mlpf generate --process ttbar --events 2000
      daskhpo mlpf train
      daskhpo mlpf evaluate
    """


for command in (generate, convert, inspect, validate_detector, train, evaluate, before_after):
    mlpf.add_command(command)
