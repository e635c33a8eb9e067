"""On published curves the simulator finds what independent simulations of them have found."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from daskhpo.simulate import Costs, Problem, Rows, simulate
from daskhpo.store.importer import import_table

SHARED = Path(os.environ.get("DASKHPO_SHARED", Path(__file__).parents[2] / ".." / "shared"))
PARAMS = ["bin_size", "dropout", "lr", "n_glayers_id", "n_glayers_reg", "output_dim"]
SEEDS = 20


@pytest.fixture(scope="module")
def mlpf(tmp_path_factory):
    """The 136 clean curves of MLPF."""
    table = SHARED / "curves" / "mlpf_delphes.csv"
    if not table.exists():
        pytest.skip(f"{table} is missing (set DASKHPO_SHARED)")
    out = tmp_path_factory.mktemp("mlpf") / "curves.zarr"
    params = [*PARAMS, "weight_decay"]
    return Problem.open(
        import_table(table, params=params, metric="loss_{step}", out=out, clean=True)
    )


@pytest.mark.parametrize(("eta", "epochs", "spread"), [(2, 1621, 193), (4, 1181, 148)])
def test_promotion_asha_on_mlpf_costs_what_the_notes_say(mlpf, eta, epochs, spread):
    runs = [
        simulate(
            Rows(mlpf),
            f"asha(min_step=2, eta={eta})",
            workers=8,
            trials=163,
            seed=seed,
            costs=Costs.free(),
        )
        for seed in range(SEEDS)
    ]
    assert abs(np.mean([run.trained for run in runs]) - epochs) <= spread
    assert [run.rank for run in runs] == [0] * SEEDS


def test_random_search_in_full_on_mlpf_costs_what_it_must(mlpf):
    run = simulate(Rows(mlpf), "fifo", workers=8, trials=163, costs=Costs.free())
    assert (run.trained, run.rank) == (16_300, 0)
