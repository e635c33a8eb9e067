"""``mlpf train``: one network, on this machine."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from daskhpo.cli import options
from daskhpo.cli.loading import load_yaml
from daskhpo.exceptions import DataError, SpaceError

if TYPE_CHECKING:
    from torch import nn

    from daskhpo.mlpf.train import Trainer

__all__ = ["train"]

GENERATED = "mlpf-events.zarr"  # what `mlpf generate` writes unless told otherwise
STATE = "daskhpo-mlpf-training-1"  # format of the file that --resume reads
FIRST_SEED = 1
COLUMNS = {  # heading: (entry of the history, format)
    "val_loss": ("val_loss", "9.4f"),
    "class": ("val_cls_loss", "8.4f"),
    "charge": ("val_charge_loss", "8.4f"),
    "momentum": ("val_reg_loss", "8.4f"),
    "accuracy": ("val_accuracy", "8.4f"),
    "seconds": ("seconds", "8.1f"),
    "events/s": ("events_per_second", "8.1f"),
}


@click.command()
@click.option(
    "--data",
    metavar="FILE|sample",
    help=f"Events; by default {GENERATED} if it is here, else those shipped with the package.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("mlpf.pt"),
    show_default=True,
    help="The best network so far, by its validation loss.",
)
@click.option("--epochs", type=click.IntRange(min=1), metavar="N", help="Passes over the events.")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0),
    metavar="M",
    help="Begin no epoch that would end later; the learning rate still falls for all of them.",
)
@click.option("--preset", metavar="NAME", help="A network of the papers, such as delphes.")
@click.option(
    "--params",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="YAML or JSON, such as what 'daskhpo best DIR --json' prints; in place of our defaults.",
)
@click.option("--set", "given", multiple=True, metavar="NAME=VALUE", help="May be given again.")
@click.option("--seed", type=click.IntRange(min=0), help=f"By default {FIRST_SEED}.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="By default all cores.")
@click.option("--resume", is_flag=True, help="Go on with the training that OUT.state holds.")
@options.as_json
def train(out: Path, threads: int | None, as_json: bool, **asked: Any) -> None:
    """Train one network; write it to a file whenever its validation loss is the best so far.

    Parameters have the names of a campaign's space. --set goes before --params, and both before
    --preset. Ctrl-C ends the training and keeps the best network; --resume goes on after the last
    epoch that was complete, and equals a training that was never interrupted.

    \b
    Example:
      daskhpo mlpf train --epochs 20
      daskhpo mlpf train --data ttbar.npz --preset paper-table3 --set lr=1e-3
      daskhpo mlpf train --resume --epochs 40
    """
    import torch

    from daskhpo.mlpf.train import Trainer

    if threads:
        torch.set_num_threads(threads)
    if not out.absolute().parent.is_dir():
        raise DataError(f"{out}: there is no directory {out.parent}")
    training = _resumed(out, asked) if asked["resume"] else _begun(out, asked)
    training.silent = as_json
    seconds = math.inf if asked["minutes"] is None else 60 * asked["minutes"]
    interrupted = False
    try:
        training.run(Trainer(training), seconds)
    except KeyboardInterrupt:
        interrupted = True
    _conclude(training, interrupted=interrupted, as_json=as_json)


@dataclass
class _Training:
    """A training on this machine: what a `Trainer` asks of a trial, and what came of it."""

    params: dict[str, Any]
    seed: int
    max_step: int
    out: Path
    history: list[dict[str, float]] = field(default_factory=list)  # one entry per epoch
    states: dict[str, Any] = field(default_factory=dict)  # to go on with
    silent: bool = False
    rank: int = 0
    world_size: int = 1

    @property
    def device(self) -> str:
        """The first GPU, if there is one."""
        from daskhpo.worker.devices import pick_device

        return pick_device(0)

    def ddp(self, module: nn.Module) -> nn.Module:
        """One rank needs no wrapping."""
        return module

    @property
    def best(self) -> dict[str, float]:
        """The entry of the epoch that `out` holds; empty if there is none yet."""
        finite = [entry for entry in self.history if math.isfinite(entry["val_loss"])]
        return min(finite, key=lambda entry: entry["val_loss"], default={})

    @property
    def diverged(self) -> bool:
        """Whether the network is beyond repair."""
        return bool(self.history) and not math.isfinite(self.history[-1]["val_loss"])

    def run(self, trainer: Trainer, seconds: float) -> None:
        """Train the epochs that are left, as far as the time goes."""
        for name, thing in trainer.state.items():
            if self.states:
                thing.load_state_dict(self.states[name])
        unit = trainer.training.unit
        self._say("  ".join([f"{unit:>5}", *(f"{name:>9}" for name in COLUMNS)]))
        began = time.monotonic()
        longest = 0.0
        for step in range(len(self.history) + 1, self.max_step + 1):
            start = time.monotonic()
            if self.diverged or start - began + longest > seconds:
                break
            self._epoch(trainer, step)
            longest = max(longest, time.monotonic() - start)

    def _epoch(self, trainer: Trainer, step: int) -> None:
        from daskhpo.mlpf.checkpoint import save_checkpoint

        start = time.monotonic()
        events = trainer.train(step)
        _wait_for(self.device)
        trained = time.monotonic() - start
        metrics = trainer.validate()
        speed = {"seconds": time.monotonic() - start, "events_per_second": events / trained}
        entry = {"step": step, **metrics, **speed}
        self.history.append(entry)
        better = self.best is entry
        if better:  # before the state: who resumes from an older one trains this epoch again
            save_checkpoint(self.out, trainer.model, trainer.trained_on(step))
        self._save_state(trainer)
        numbers = [f"{format(entry[key], form):>9}" for key, form in COLUMNS.values()]
        self._say("  ".join([f"{step:>5}", *numbers, "best" if better else ""]).rstrip())

    def _save_state(self, trainer: Trainer) -> None:
        import torch

        content = {
            "format": STATE,
            "params": self.params,
            "seed": self.seed,
            "max_step": self.max_step,
            "history": self.history,
            "states": {name: thing.state_dict() for name, thing in trainer.state.items()},
        }
        target = _state_file(self.out)
        partial = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        try:
            torch.save(content, partial)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def _say(self, line: str) -> None:
        click.echo(line, err=self.silent)


def _begun(out: Path, asked: Mapping[str, Any]) -> _Training:
    from daskhpo.mlpf.training import EPOCHS

    seed = FIRST_SEED if asked["seed"] is None else asked["seed"]
    return _Training(_parameters(asked), seed, asked["epochs"] or EPOCHS, out)


def _resumed(out: Path, asked: Mapping[str, Any]) -> _Training:
    import torch

    for name in ("data", "preset", "params", "given", "seed"):
        if asked[name] not in (None, ()):
            option = "set" if name == "given" else name
            raise SpaceError(
                f"--{option} cannot be given with --resume, which goes on as it began: "
                "allowed are --epochs, --minutes, --threads and --out"
            )
    file = _state_file(out)
    if not file.is_file():
        raise DataError(f"{file}: there is no training to resume; leave out --resume to begin one")
    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in any way it likes
        raise DataError(f"{file}: not a training ({type(error).__name__}: {error})") from error
    if not isinstance(content, dict) or content.get("format") != STATE:
        raise DataError(f"{file}: not a training of {STATE}")
    params, seed, history = content["params"], content["seed"], content["history"]
    epochs = asked["epochs"] or content["max_step"]
    if len(history) >= epochs:
        raise SpaceError(f"--epochs {epochs}: {len(history)} are trained already; ask for more")
    return _Training(params, seed, epochs, out, history, content["states"])


def _state_file(out: Path) -> Path:
    return out.with_name(f"{out.name}.state")


def _parameters(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Merge what was asked for with what is the default beside it."""
    from daskhpo.mlpf.config import MLPFConfig, resolve_aliases
    from daskhpo.mlpf.training import DEFAULTS, configure

    params = _read(asked["params"]) if asked["params"] else {}
    params |= dict(_pair(text) for text in asked["given"])
    for name in ("preset", "data"):
        if asked[name] is not None:
            params[name] = asked[name]
    resolved = resolve_aliases(params)
    if "data" not in resolved:
        params["data"] = GENERATED if Path(GENERATED).exists() else "sample"
    network = {entry.name: entry for entry in fields(MLPFConfig)}
    model = resolved.get("model", network["model"].default)

    def holds(name: str) -> bool:
        """Whether our default means anything beside what was asked for."""
        if name in resolved or asked["params"]:
            return False
        if name == "batch_size" and resolved.get("batch_elements"):
            return False
        if name in network:
            models = network[name].metadata.get("of")
            return "preset" not in resolved and (not models or model in models)
        return True

    merged = {name: value for name, value in DEFAULTS.items() if holds(name)} | params
    configure(merged)
    return merged


def _read(file: Path) -> dict[str, Any]:
    try:
        content = load_yaml(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: not YAML: {error}") from error
    if isinstance(content, dict) and isinstance(content.get("params"), dict):
        content = content["params"]  # a trial, as `daskhpo best --json` prints it
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise DataError(f"{file}: must hold parameters, as name: value")
    return content


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise SpaceError(f"--set {text!r} must be NAME=VALUE, such as lr=1e-3")
    try:
        return name, load_yaml(value)
    except yaml.YAMLError as error:
        raise SpaceError(f"--set {text!r}: the value is not YAML: {error}") from error


def _wait_for(device: str) -> None:
    """Let a GPU finish what it was given, so that the clock tells how long that took."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def _conclude(training: _Training, *, interrupted: bool, as_json: bool) -> None:
    best, done = training.best, len(training.history)
    if not best:
        why = "interrupted" if interrupted else "diverged: try a smaller lr, or clip_norm"
        raise options.Failed(f"no epoch was complete: {training.out} is not written ({why})")
    if as_json:
        plain = [_without_nan(entry) for entry in training.history]
        content = {"checkpoint": str(training.out), "params": training.params}
        options.print_json({**content, "best": best, "complete": done, "history": plain})
    else:
        click.echo(f"best      val_loss {best['val_loss']:.4f} of step {best['step']:.0f}")
        click.echo(f"written   {training.out}: daskhpo mlpf evaluate {training.out}")
    if training.diverged:
        raise options.Failed(f"diverged in step {done}: try a smaller lr, or clip_norm")
    if done < training.max_step and not as_json:
        click.echo(f"ended     after {done} of {training.max_step}: --resume goes on")


def _without_nan(entry: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in entry.items()}
