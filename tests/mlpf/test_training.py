"""The settings of a training: every parameter means something, and nonsense is refused."""

from __future__ import annotations

from typing import Any

import pytest

from daskhpo.exceptions import SpaceError
from daskhpo.mlpf.losses import LossSettings
from daskhpo.mlpf.space import laptop, table1
from daskhpo.mlpf.training import DEFAULTS, TrainingConfig, configure


def test_an_unknown_parameter_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(SpaceError, match=r"n_glayer_id=3 is not .* did you mean 'n_glayers_id'"):
        configure({"n_glayer_id": 3})


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("lr", 0.0, "greater than 0"),
        ("weight_decay", -1.0, "at least 0"),
        ("batch_size", 0, "at least 1"),
        ("schedule", "linear", "'constant', 'cosine', 'onecycle', 'exponential'"),
        ("schedule_span", "trial", "'campaign', 'rung'"),
        ("decay_rate", 0.0, "(0, 1]"),
        ("optimizer", "sgd", "'adamw', 'adam'"),
        ("clip_norm", -1.0, "at least 0"),
        ("unit", "hours", "'epoch', 'steps'"),
        ("steps_per_unit", 0, "at least 1"),
        ("batch_elements", -1, "at least 0"),
        ("cls_loss", "hinge", "'focal', 'sigmoid_focal', 'cross_entropy'"),
        ("reg_weight", -1.0, "at least 0"),
        ("loss_norm", "none", "'real', 'padded'"),
        ("batch_size", 2.5, "of type int"),
        ("lr", "1e-3", "of type float"),
        ("events", True, "of type int"),
        ("precision", "half", "'float64'"),
        ("validation_fraction", 1.0, "between 0 and 1"),
    ],
)
def test_a_wrong_setting_is_refused_by_name_value_and_what_is_allowed(
    name: str, value: Any, allowed: str
) -> None:
    with pytest.raises(SpaceError, match=f"{name}={value!r}") as error:
        TrainingConfig(**{name: value})
    assert allowed in str(error.value)


@pytest.mark.parametrize("space", [table1(), laptop()])
def test_every_name_in_a_space_is_a_parameter_and_its_ends_are_legal(space: Any) -> None:
    for end in (0, -1):
        point = {}
        for name, domain in space.items():
            values = domain.get("choices") or [domain.get("low"), domain.get("high")]
            point[name] = domain["value"] if domain["type"] == "constant" else values[end]
        configure(point)


def test_the_laptop_space_searches_what_the_papers_searched() -> None:
    searched = {name for name, domain in laptop().items() if domain["type"] != "constant"}
    assert searched == set(table1())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"decay_rate": 0.9}, "decay_rate=0.9 is a parameter of schedule='exponential'"),
        ({"steps_per_unit": 9}, "unit='epoch' does not use it"),
        ({"batch_size": 4, "batch_elements": 99}, "batch_size=4 means nothing beside"),
    ],
)
def test_a_parameter_that_would_change_nothing_is_refused(
    params: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpaceError, match=message):
        configure(params)


def test_parameters_are_sorted_into_network_training_and_loss() -> None:
    params = {"lr": 0.1, "num_graph_layers_energy": 1, "unit": "steps", "steps_per_unit": 7}
    network, training = configure(params | {"cls_loss": "cross_entropy", "cls_weight": 200})
    assert network.n_glayers_reg == 1
    assert (training.lr, training.steps_per_unit) == (0.1, 7)
    assert training.loss == LossSettings("cross_entropy", 200, 1.0, 1.0)


def test_what_the_command_trains_by_default_is_legal() -> None:
    configure(DEFAULTS)
