"""``daskhpo mlpf train`` trains, keeps the best network, and goes on where it was interrupted."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")

from daskhpo.cli.mlpf.train import train  # noqa: E402
from daskhpo.exceptions import DaskhpoError, DataError, SpaceError  # noqa: E402
from daskhpo.mlpf.checkpoint import load_checkpoint  # noqa: E402
from daskhpo.mlpf.train import Trainer  # noqa: E402

SMALL = {"events": 12, "batch_size": 4, "output_dim": 8, "n_glayers_id": 1, "n_glayers_reg": 0}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Every test in a directory of its own, with the threads it found."""
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def call(*arguments, code=0, small=True):
    """Run the command and insist on its exit code."""
    words = [str(argument) for argument in arguments]
    if small:
        words += [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
    result = CliRunner().invoke(train, [*words, "--threads", "1"])
    crash = result.exception
    if crash is not None and not isinstance(crash, SystemExit):
        raise crash
    assert result.exit_code == code, result.output
    return result


def weights(path):
    return load_checkpoint(path)[0].state_dict()


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in other)


def losses(result):
    """Without what a clock says."""
    history = json.loads(result.stdout)["history"]
    return [(entry["step"], entry["val_loss"], entry["val_accuracy"]) for entry in history]


def test_every_epoch_has_a_line_and_the_best_network_is_written(tmp_path):
    lines = call("--epochs", 3).output.splitlines()
    assert lines[0].split()[:3] == ["epoch", "val_loss", "class"]
    assert [line.split()[0] for line in lines[1:4]] == ["1", "2", "3"]
    assert "best" in lines[1]
    assert lines[4].startswith("best      val_loss")
    model, trained_on = load_checkpoint("mlpf.pt")
    assert model.config.output_dim == 8
    assert (trained_on.data, trained_on.events) == ("sample", 12)
    assert {path.name for path in tmp_path.iterdir()} == {"mlpf.pt", "mlpf.pt.state"}


def test_json_tells_every_epoch_and_the_best_and_progress_goes_to_standard_error():
    result = call("--epochs", 2, "--json")
    content = json.loads(result.stdout)
    assert [entry["step"] for entry in content["history"]] == [1, 2]
    assert content["best"] == min(content["history"], key=lambda entry: entry["val_loss"])
    assert content["params"]["output_dim"] == 8
    assert "val_loss" in result.stderr


def test_a_worse_epoch_does_not_replace_the_best(monkeypatch):
    validate = Trainer.validate
    given = iter([1.0, 0.5, 2.0])
    monkeypatch.setattr(
        Trainer, "validate", lambda self: validate(self) | {"val_loss": next(given)}
    )
    content = json.loads(call("--epochs", 3, "--json").stdout)
    assert content["best"]["step"] == 2
    assert load_checkpoint("mlpf.pt")[1].epochs == 2


def test_an_interrupted_training_keeps_the_best_and_resumes_bit_for_bit(monkeypatch):
    whole = call("--epochs", 4, "--out", "whole.pt", "--set", "dropout=0.2", "--json")
    once = Trainer.train

    def interrupted(self, step):
        if step == 3:
            raise KeyboardInterrupt
        return once(self, step)

    monkeypatch.setattr(Trainer, "train", interrupted)
    output = call("--epochs", 4, "--out", "parts.pt", "--set", "dropout=0.2").output
    assert "ended     after 2 of 4: --resume goes on" in output
    assert load_checkpoint("parts.pt")[1].epochs <= 2
    monkeypatch.setattr(Trainer, "train", once)
    parts = call("--resume", "--out", "parts.pt", "--json", small=False)
    assert losses(parts) == losses(whole)
    assert same(weights("parts.pt"), weights("whole.pt"))


def test_an_interruption_before_the_first_epoch_is_over_writes_nothing(monkeypatch, tmp_path):
    def interrupted(self, step):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "train", interrupted)
    assert "interrupted" in call("--epochs", 2, code=1).output
    assert list(tmp_path.iterdir()) == []


def test_a_finished_training_goes_on_for_more_epochs():
    call("--epochs", 1)
    assert len(losses(call("--resume", "--epochs", 2, "--json", small=False))) == 2
    with pytest.raises(SpaceError, match="--epochs 2: 2 are trained already"):
        call("--resume", "--epochs", 2, small=False)


def test_no_epoch_is_begun_that_would_not_fit_into_the_minutes():
    output = call("--epochs", 5, "--minutes", 0.0001).output
    assert "ended     after 1 of 5" in output


def test_a_training_that_diverges_ends_and_says_what_to_do(monkeypatch):
    validate = Trainer.validate
    given = iter([1.0, math.nan])
    monkeypatch.setattr(
        Trainer, "validate", lambda self: validate(self) | {"val_loss": next(given)}
    )
    result = call("--epochs", 5, "--json", code=1)
    assert "diverged in step 2: try a smaller lr" in result.stderr
    assert [loss for _, loss, _ in losses(result)] == [1.0, None]


def test_parameters_come_from_a_file_as_best_prints_it_and_set_goes_before(tmp_path):
    trial = {"number": 3, "params": SMALL | {"lr": 0.004, "num_graph_layers_common": 0}}
    trial["params"].pop("n_glayers_id")
    (tmp_path / "best.json").write_text(json.dumps(trial), encoding="utf-8")
    found = call("--params", "best.json", "--set", "lr=1e-3", "--epochs", 1, "--json", small=False)
    expected = trial["params"] | {"lr": 0.001, "data": "sample"}
    assert json.loads(found.stdout)["params"] == expected


def test_a_preset_leaves_out_our_network_and_keeps_our_training():
    params = json.loads(call("--preset", "paper-table3", "--epochs", 1, "--json").stdout)["params"]
    assert params["preset"] == "paper-table3"
    assert "node_encoding_hidden_dim" not in params
    assert "clip_norm" in params


def test_a_bound_on_elements_takes_the_place_of_our_batch_size():
    words = ["--set", "events=12", "--set", "output_dim=8", "--set", "batch_elements=600"]
    params = json.loads(call(*words, "--epochs", 1, "--json", small=False).stdout)["params"]
    assert "batch_size" not in params


def test_events_that_were_generated_here_are_taken_before_the_sample(tmp_path, monkeypatch):
    seen = []

    def load(data, *_):
        seen.append(data)
        raise DataError("seen enough")

    monkeypatch.setattr("daskhpo.mlpf.train.load_dataset", load)
    (tmp_path / "mlpf-events.zarr").mkdir()
    for words in ([], ["--data", "sample"], ["--set", "data=other.npz"]):
        with pytest.raises(DataError, match="seen enough"):
            call(*words)
    assert seen == ["mlpf-events.zarr", "sample", "other.npz"]


def test_the_seed_makes_the_training():
    first, again, other = (
        losses(call("--epochs", 1, "--json", "--seed", seed)) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert np.isfinite(first[0][1])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "lr"], "--set 'lr' must be NAME=VALUE"),
        (["--set", "lr=[1"], "the value is not YAML"),
        (["--set", "rate=1"], "rate=1 is not a parameter of MLPF"),
        (["--preset", "delfes"], "did you mean 'delphes'"),
        (["--out", "nowhere/mlpf.pt"], "there is no directory nowhere"),
        (["--resume"], "there is no training to resume"),
        (["--resume", "--data", "sample"], "--data cannot be given with --resume"),
        (["--resume", "--set", "lr=1e-3"], "--set cannot be given with --resume"),
    ],
)
def test_what_is_not_valid_is_refused_before_anything_is_trained(words, message, tmp_path):
    with pytest.raises(DaskhpoError) as error:
        call(*words, small=False)
    assert message in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["[1, 2]", "a: [1", "1: 2"])
def test_a_file_without_parameters_is_refused(content, tmp_path):
    (tmp_path / "params.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"params\.yaml: "):
        call("--params", "params.yaml")


@pytest.mark.parametrize("content", [b"nonsense", None])
def test_a_file_that_is_no_training_is_not_resumed(content, tmp_path):
    state = tmp_path / "mlpf.pt.state"
    if content is None:
        torch.save({"format": "another"}, state)
    else:
        state.write_bytes(content)
    with pytest.raises(DataError, match=r"mlpf\.pt\.state: not a training"):
        call("--resume", small=False)
