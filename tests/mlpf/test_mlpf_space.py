"""The papers' search spaces, and the campaign files that hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daskhpo import Space
from daskhpo.campaign import Campaign
from daskhpo.cli.objective import find_objective
from daskhpo.cli.running import read_settings
from daskhpo.mlpf import space
from daskhpo.mlpf.config import PRESETS, resolve_aliases
from daskhpo.mlpf.train import objective
from daskhpo.mlpf.training import configure

DATA = Path(__file__).parents[2] / "data"
FILES = ("mlpf-stage1", "mlpf-stage1-small", "mlpf-stage2", "mlpf-stage2-small")


def campaign(name: str) -> Campaign:
    """What `daskhpo run` makes of a file."""
    return Campaign.from_mapping(read_settings(DATA / f"{name}.yaml"))


@pytest.mark.parametrize("name", FILES)
def test_every_configuration_of_a_campaign_file_is_one_that_trains(name: str) -> None:
    made = campaign(name)
    assert find_objective(made) is objective
    assert made.name == name
    assert made.budget.trials
    rng = np.random.default_rng(1)
    for _ in range(50):
        configure(made.space.sample(rng))


@pytest.mark.parametrize("stage", [1, 2])
def test_the_campaigns_for_a_cluster_hold_the_spaces_of_the_paper_and_its_budget(
    stage: int,
) -> None:
    made = campaign(f"mlpf-stage{stage}")
    papers = Space.from_dict({"stage1": space.stage1, "stage2": space.stage2}[f"stage{stage}"]())
    assert {name: made.space[name] for name in papers} == dict(papers)
    assert made.budget.trials == 200
    assert (made.workers.ranks, made.workers.gpus) == (4, 4)


def test_the_small_campaigns_have_the_axes_of_the_papers() -> None:
    assert set(space.stage1()) < set(campaign("mlpf-stage1-small").space)
    assert set(space.stage2()) < set(campaign("mlpf-stage2-small").space)


def test_the_second_stage_fixes_what_the_first_one_tunes() -> None:
    assert not set(space.stage1()) & set(space.stage2())
    best = PRESETS["paper-table3"] | {"lr": 0.001129}
    fixed = campaign("mlpf-stage2").space
    for name in space.stage1():
        assert fixed.to_dict()[name]["value"] == best[name]


def test_the_best_that_the_paper_found_lies_in_its_spaces() -> None:
    best = resolve_aliases(PRESETS["paper-table3"])
    domains: dict[str, dict[str, Any]] = resolve_aliases(space.stage1() | space.stage2())
    for name, domain in domains.items():
        if name != "lr":  # of the training, not of the network
            allowed = domain.get("choices") or [domain["low"], domain["high"]]
            assert min(allowed) <= best[name] <= max(allowed), name
            assert domain["type"] != "choice" or best[name] in allowed, name
