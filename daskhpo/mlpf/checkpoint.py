"""A trained network as one file: weights, settings, and the events it was trained on.

The file holds tensors and plain values only and is read without running any code that it might
carry.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from daskhpo.exceptions import DataError, SpaceError
from daskhpo.mlpf.batches import EventBatches
from daskhpo.mlpf.config import MLPFConfig
from daskhpo.mlpf.events import Events
from daskhpo.mlpf.model import MLPF
from daskhpo.mlpf.schema import SCHEMAS, Schema

__all__ = ["TrainedOn", "load_checkpoint", "predict", "save_checkpoint"]

FORMAT = "daskhpo-mlpf-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedOn:
    """Which events a network has seen, so that it is judged by others.

    Parameters
    ----------
    data, events, validation_fraction, data_seed
        As in `TrainingConfig`: `load_dataset(...)` with them gives the same split again.
    schema : str
        Name of the events' `Schema`.
    epochs : float
        How often each event has been seen.
    """

    data: str
    events: int
    validation_fraction: float
    data_seed: int
    schema: str
    epochs: float


def save_checkpoint(path: str | os.PathLike[str], model: MLPF, trained_on: TrainedOn) -> None:
    """Write a trained network; a file that is there is replaced once the new one is complete.

    Examples
    --------
    >>> save_checkpoint("mlpf.pt", model, trained_on)  # doctest: +SKIP
    """
    target = Path(path)
    partial = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    content = {
        "format": FORMAT,
        "config": asdict(model.config),
        "trained_on": asdict(trained_on),
        "model": {name: value.cpu() for name, value in model.state_dict().items()},
    }
    torch.save(content, partial)
    partial.replace(target)


def load_checkpoint(path: str | os.PathLike[str]) -> tuple[MLPF, TrainedOn]:
    """Read a trained network, ready for `predict`.

    Raises
    ------
    DataError
        If there is no such file, or it is no checkpoint of ours.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"{file}: no such checkpoint; `daskhpo mlpf train` writes one")
    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in any way it likes
        raise DataError(f"{file}: not a checkpoint ({type(error).__name__}: {error})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{file}: not a checkpoint of {FORMAT}")
    try:
        model = MLPF(MLPFConfig(**content["config"]))
        model.load_state_dict(content["model"])
        known = {entry.name for entry in fields(TrainedOn)}
        trained_on = TrainedOn(**{k: v for k, v in content["trained_on"].items() if k in known})
    except (KeyError, TypeError, RuntimeError, SpaceError) as error:
        raise DataError(f"{file}: a checkpoint that does not fit: {error}") from error
    return model.eval(), trained_on


@torch.no_grad()
def predict(
    model: MLPF, events: Events, *, device: str = "cpu", elements: int = 50_000
) -> npt.NDArray[np.float32]:
    """Let a network say what particles events hold.

    Parameters
    ----------
    model : MLPF
        From `load_checkpoint`, or just trained.
    events : Events
        Of M elements, in the schema that the network was trained on.
    device : str
        As torch names it.
    elements : int
        At most about this many go through the network at once.

    Returns
    -------
    (M, 7) float32
        Particles in the columns of `ycand` (see `Target`), zero rows where there is none. Unlike
        the rule-based candidates of Delphes all have both pT and energy.

    Raises
    ------
    DataError
        If the events are another detector's.
    """
    if events.schema.width != model.config.input_dim:
        raise DataError(
            f"the network takes elements of {model.config.input_dim} columns "
            f"({_named(model.config.input_dim)}); the events are {events.schema.name}'s, of "
            f"{events.schema.width}"
        )
    model = model.to(device).eval()
    source = EventBatches.of(
        torch.as_tensor(events.X), torch.as_tensor(events.ygen), torch.as_tensor(events.counts)
    )
    parts = [np.zeros((0, events.ygen.shape[1]), np.float32)]
    for chosen in _portions(source.counts, elements):
        batch = source.take(chosen)
        output = model(batch.x.to(device), batch.counts)
        parts.append(output.particles().float().cpu().numpy())
    return np.concatenate(parts)


def _portions(counts: torch.Tensor, elements: int) -> list[torch.Tensor]:
    """Cut the events into portions of about `elements` elements."""
    portion = (counts.cumsum(0) - counts) // elements
    return [torch.nonzero(portion == number).flatten() for number in torch.unique(portion)]


def _named(width: int) -> str:
    known: list[Schema] = [schema for schema in SCHEMAS.values() if schema.width == width]
    return known[0].name if known else "unknown"
