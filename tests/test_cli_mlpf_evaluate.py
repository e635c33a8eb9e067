"""`daskhpo mlpf evaluate` judges a network by the events it has not seen, and says which."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from daskhpo.cli.mlpf.evaluate import evaluate
from daskhpo.exceptions import DataError
from daskhpo.mlpf.events import load_sample

torch = pytest.importorskip("torch")

from daskhpo.mlpf import checkpoint as checkpoint_module  # noqa: E402
from daskhpo.mlpf.batches import load_dataset  # noqa: E402
from daskhpo.mlpf.checkpoint import TrainedOn, save_checkpoint  # noqa: E402
from daskhpo.mlpf.config import MLPFConfig  # noqa: E402
from daskhpo.mlpf.model import MLPF  # noqa: E402

TRAINED_ON = TrainedOn(
    data="sample", events=40, validation_fraction=0.25, data_seed=3, schema="delphes", epochs=2.0
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a small network, hardly trained, in mlpf.pt."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    small = MLPFConfig(output_dim=16, distance_dim=8, ffn_dist_hidden_dim=16, out_hidden_dim=16)
    save_checkpoint("mlpf.pt", MLPF(small), TRAINED_ON)
    return tmp_path


@pytest.fixture
def predicted(monkeypatch):
    """The events that were shown to the network."""
    shown = []
    predict = checkpoint_module.predict

    def remember(model, events, **settings):
        shown.append(events)
        return predict(model, events, **settings)

    monkeypatch.setattr(checkpoint_module, "predict", remember)
    return shown


def run(*arguments):
    done = CliRunner().invoke(evaluate, [*map(str, arguments)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_without_arguments_mlpf_pt_is_judged_by_its_validation_events(here, predicted):
    done = run("--no-plots")
    assert done.exit_code == 0
    assert "validation events of sample" in done.output
    assert "10 events, jets: anti-kT R=0.4" in done.output
    assert "rule-based" in done.output
    split = load_dataset("sample", 40, 0.25, 3)
    np.testing.assert_array_equal(predicted[0].X, split.validation.x.numpy())
    np.testing.assert_array_equal(predicted[0].ygen, split.validation.y.numpy())


def test_the_evaluation_is_written_and_printed_as_json(here):
    done = run("mlpf.pt", "--out", "found", "--no-plots", "--json")
    printed = json.loads(done.stdout)
    written = json.loads((here / "found" / "evaluation.json").read_text())
    assert printed.pop("written") == ["found/evaluation.json"]
    assert printed == written
    assert (written["checkpoint"], written["events"], written["epochs"]) == ("mlpf.pt", 10, 2.0)


def test_the_same_network_gives_the_same_table_again(here):
    assert run("--no-plots", "--json").stdout == run("--no-plots", "--json").stdout


def test_plots_are_drawn_into_the_same_directory(here, monkeypatch):
    from daskhpo.mlpf.physics import plots

    pytest.importorskip("matplotlib")
    monkeypatch.setattr(plots, "_save", lambda figure, caption, stem: [stem.with_suffix(".png")])
    printed = json.loads(run("--json").stdout)
    assert "mlpf-evaluation/jet-width.png" in printed["written"]


def test_without_matplotlib_the_table_is_there_and_the_extra_named(here, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = run()
    assert done.exit_code == 0
    assert "pip install daskhpo[figures]" in done.stderr
    assert "matched fraction" in done.stdout


def test_other_events_can_be_named(here, predicted):
    load_sample()[50:60].save_npz("other.npz")
    done = run("--events", "other.npz", "--no-plots")
    assert "on other.npz" in done.stdout
    assert done.stderr == ""
    np.testing.assert_array_equal(predicted[0].X, load_sample()[50:60].X)


def test_events_that_it_was_trained_on_are_warned_of(here):
    load_sample()[:40].save_npz("mine.npz")
    model, _ = checkpoint_module.load_checkpoint("mlpf.pt")
    save_checkpoint("mlpf.pt", model, replace(TRAINED_ON, data="mine.npz"))
    assert "has seen them" in run("--events", here / "mine.npz", "--no-plots").stderr
    assert run("--no-plots").stderr == ""


def test_training_events_that_are_gone_are_named_with_the_way_out(here):
    model, _ = checkpoint_module.load_checkpoint("mlpf.pt")
    save_checkpoint("mlpf.pt", model, replace(TRAINED_ON, data="gone.zarr"))
    with pytest.raises(DataError, match=r"gone\.zarr, which is not here; .* --events"):
        run("--no-plots")


def test_events_of_another_detector_are_refused(here):
    model, _ = checkpoint_module.load_checkpoint("mlpf.pt")
    save_checkpoint("mlpf.pt", model, replace(TRAINED_ON, schema="clic"))
    load_sample()[:5].save_npz("other.npz")
    with pytest.raises(DataError, match="its events are delphes's; .* clic's"):
        run("--events", "other.npz", "--no-plots")


def test_a_checkpoint_that_is_not_there_is_said_so(here):
    with pytest.raises(DataError, match="absent.pt: no such checkpoint"):
        run("absent.pt")
