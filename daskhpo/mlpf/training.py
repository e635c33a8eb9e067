"""How MLPF is trained, under the names that a campaign file uses."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from daskhpo.exceptions import SpaceError
from daskhpo.mlpf.config import ALIASES, MLPFConfig, resolve_aliases
from daskhpo.mlpf.losses import CLS_LOSSES, LOSS_NORMS, LossSettings
from daskhpo.mlpf.schedules import SCHEDULES, SPANS

__all__ = ["DEFAULTS", "EPOCHS", "TrainingConfig", "configure"]

# What `daskhpo mlpf train` trains unless told otherwise: two thousand top-quark pairs without
# pile-up in less than an hour on one core. Such an event fits into one bin.
EPOCHS = 80
DEFAULTS: dict[str, Any] = {
    "bin_size": 256,
    "num_node_messages": 2,
    "cls_loss": "cross_entropy",
    "pt_power": 0.5,
    "lr": 3e-3,
    "schedule": "onecycle",
    "clip_norm": 1.0,
    "batch_size": 4,
}

CHOICES = {
    "optimizer": ("adamw", "adam"),
    "schedule": SCHEDULES,
    "schedule_span": SPANS,
    "unit": ("epoch", "steps"),
    "cls_loss": CLS_LOSSES,
    "loss_norm": LOSS_NORMS,
    "precision": ("auto", "float32", "float64"),
}
LEAST = {
    "weight_decay": 0,
    "clip_norm": 0,
    "steps_per_unit": 1,
    "batch_size": 1,
    "batch_elements": 0,
    "cls_weight": 0,
    "charge_weight": 0,
    "reg_weight": 0,
    "pt_power": 0,
    "events": 0,
    "data_seed": 0,
}
NEEDS = {"decay_rate": ("schedule", "exponential"), "steps_per_unit": ("unit", "steps")}
KINDS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,)}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How to train, under the names that a campaign file uses.

    A campaign that tunes `cls_loss`, `loss_norm` or one of the weights compares values of different
    losses: let its metric be `val_accuracy` then.

    Parameters
    ----------
    lr, weight_decay : float
        The highest learning rate, and the decay of the weights.
    optimizer : {"adamw", "adam"}
        AdamW decouples the decay from the gradient; Adam adds it to the gradient, as an L2 term.
    clip_norm : float
        Scale down gradients whose norm, over all parameters and of the global batch, is larger;
        0 never does. (Upstream never does.)
    schedule : {"cosine", "onecycle", "exponential", "constant"}
        See `rate_factor`.
    schedule_span : {"campaign", "rung"}
        What the schedule spans: "campaign" all steps up to the trial's max_step, whatever the
        rung at which it may be stopped before; "rung" those up to the next decision, to begin
        anew after it (see `Stretch`).
    decay_rate : float
        exponential: the part of the learning rate that is left after one resource unit.
    unit : {"epoch", "steps"}
        What one step of the campaign is: a pass over all training events or `steps_per_unit`
        gradient steps. The latter are cut from an endless stream of shuffled epochs, so that
        trials of other batch sizes are compared after as many updates.
    steps_per_unit : int
    batch_size : int
        Events in one gradient step, over all ranks together.
    batch_elements : int
        If not 0, it takes the place of `batch_size`: a batch is as many events as have at most
        so many elements together, or one that has more. Memory and time of a gradient step then
        hardly vary, however widely the sizes of events do.
    cls_loss : {"focal", "sigmoid_focal", "cross_entropy"}
        Of the classes; the papers used "sigmoid_focal", and earlier "cross_entropy".
    cls_weight, charge_weight, reg_weight : float
        Of the parts of the loss.
    pt_power : float
        Elements count their measured pT (GeV) to this power, see `LossSettings`.
    loss_norm : {"real", "padded"}
        What losses are divided by: real elements and particles, or padded ones, as upstream
        (`Norm.of`). All validation events count as one batch.
    data : str
        "sample" for the shipped events or the path of a file that `load_events` reads.
    events : int
        Use this many events; 0 takes all.
    validation_fraction : float
        Part of them that is validated on instead of trained on.
    data_seed : int
        Chooses the events and their split, the same for all trials of a campaign.
    precision : {"auto", "float32", "float64"}
        "auto" is bfloat16 autocast on CUDA and float32 elsewhere.

    Raises
    ------
    SpaceError
        If a value is of the wrong kind or out of its range.

    Examples
    --------
    >>> TrainingConfig(lr=1e-3).schedule
    'cosine'
    """

    lr: float = 3e-3
    weight_decay: float = 1e-2
    optimizer: str = "adamw"
    clip_norm: float = 0.0
    schedule: str = "cosine"
    schedule_span: str = "campaign"
    decay_rate: float = 0.99
    unit: str = "epoch"
    steps_per_unit: int = 100
    batch_size: int = 8
    batch_elements: int = 0
    cls_loss: str = "focal"
    cls_weight: float = 1.0
    charge_weight: float = 1.0
    reg_weight: float = 1.0
    pt_power: float = 0.0
    loss_norm: str = "real"
    data: str = "sample"
    events: int = 0
    validation_fraction: float = 0.2
    data_seed: int = 0
    precision: str = "auto"

    def __post_init__(self) -> None:
        """Refuse what is not allowed."""
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, bool) or not isinstance(value, KINDS[str(entry.type)]):
                raise SpaceError(f"{entry.name}={value!r} must be of type {entry.type}")
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise SpaceError(f"{name}={getattr(self, name)!r} must be one of {allowed}")
        for name, least in LEAST.items():
            if not getattr(self, name) >= least:
                raise SpaceError(f"{name}={getattr(self, name)!r} must be at least {least}")
        if not self.lr > 0:
            raise SpaceError(f"lr={self.lr!r} must be greater than 0")
        if not 0 < self.decay_rate <= 1:
            raise SpaceError(f"decay_rate={self.decay_rate!r} must lie in (0, 1]")
        if not 0 < self.validation_fraction < 1:
            raise SpaceError(
                f"validation_fraction={self.validation_fraction!r} must lie between 0 and 1"
            )

    @property
    def loss(self) -> LossSettings:
        """What is minimised."""
        return LossSettings(
            self.cls_loss, self.cls_weight, self.charge_weight, self.reg_weight, self.pt_power
        )


def configure(params: Mapping[str, Any]) -> tuple[MLPFConfig, TrainingConfig]:
    """Sort a trial's parameters into those of the network and those of the training.

    Every parameter must mean something: one that would silently tune nothing is refused.

    Parameters
    ----------
    params : mapping of str to value

    Returns
    -------
    MLPFConfig, TrainingConfig

    Raises
    ------
    SpaceError
        If a name is unknown, a value out of its range, or another parameter makes it meaningless.

    Examples
    --------
    >>> network, training = configure({"lr": 0.01, "num_graph_layers_common": 3})
    >>> network.n_glayers_id, training.lr
    (3, 0.01)
    """
    training = {entry.name for entry in fields(TrainingConfig)}
    known = {entry.name for entry in fields(MLPFConfig)} | {"preset", *training, *ALIASES}
    for name in params:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise SpaceError(
                f"{name}={params[name]!r} is not a parameter of MLPF: {hint}"
                f"Allowed are {', '.join(sorted(known))}"
            )
    resolved = resolve_aliases(params)
    chosen = TrainingConfig(**{name: resolved[name] for name in resolved if name in training})
    for name, (other, value) in NEEDS.items():
        if name in resolved and getattr(chosen, other) != value:
            raise SpaceError(
                f"{name}={resolved[name]!r} is a parameter of {other}={value!r}; "
                f"{other}={getattr(chosen, other)!r} does not use it"
            )
    if chosen.batch_elements and "batch_size" in resolved:
        raise SpaceError(
            f"batch_size={chosen.batch_size} means nothing beside "
            f"batch_elements={chosen.batch_elements}, which takes its place: leave one of them out"
        )
    return MLPFConfig.from_params(params), chosen
