"""``mlpf before-after``: sides from files and campaigns, and what it writes."""

from __future__ import annotations

import json

import pytest
import yaml
from click.testing import CliRunner

from daskhpo import ASHA, Choice, Constant, Float, Space, Tuner
from daskhpo.cli.mlpf.before_after import before_after as command
from daskhpo.exceptions import DataError
from daskhpo.mlpf import before_after
from daskhpo.mlpf.before_after import Training

TINY = {"events": 12, "output_dim": 8, "n_glayers_id": 0, "n_glayers_reg": 0, "batch_size": 4}


def call(*arguments, code=0):
    """Run `before-after` and insist on its exit code."""
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def tuned(tmp_path):
    """A file of tuned parameters."""
    path = tmp_path / "tuned.yaml"
    path.write_text(yaml.safe_dump(TINY), encoding="utf-8")
    return path


@pytest.fixture
def ordered(monkeypatch):
    """Trainings that only note what was ordered; the tuned side has half the loss."""
    orders = []

    def train(order):
        orders.append(order)
        metrics = dict.fromkeys(before_after.CURVES, 1.0 if order.side == "default" else 0.5)
        return Training(
            side=order.side,
            params=dict(order.params),
            seed=order.seed,
            epochs=order.epochs,
            history=[metrics] * order.epochs,
            physics={"jets": {"response IQR": 0.1 * order.seed}, "MET": {"distance [GeV]": None}},
        )

    monkeypatch.setattr(before_after, "train", train)
    return orders


def test_a_tiny_comparison_runs_from_beginning_to_end(tuned, tmp_path):
    out = tmp_path / "out"
    result = call("--tuned", tuned, "--trainings", 1, "--epochs", 1, "--out", out, "--json")
    content = json.loads(result.stdout)
    assert content["tuned"]["trainings"] == 1
    assert set(content["default"]["physics"]) == {"jets", "MET"}
    names = ["before-after.json", "before-after.pdf", "before-after.png", "trainings"]
    assert sorted(path.name for path in out.iterdir()) == names


def test_each_side_is_trained_with_the_same_seeds_and_the_gain_is_printed(ordered, tuned, tmp_path):
    output = call("--tuned", tuned, "--trainings", 3, "--epochs", 2, "--out", tmp_path).stdout
    assert [(order.side, order.seed) for order in ordered] == [
        (side, seed) for seed in (1, 2, 3) for side in ("default", "tuned")
    ]
    assert "validation loss: -50.0 ± 0.0 % by tuning" in output
    assert "response IQR 0.2 ± 0.1 0.2 ± 0.1" in " ".join(output.split())
    assert "mean ± standard deviation over 3 trainings each" in output


def test_the_same_command_goes_on_where_it_was_interrupted(ordered, tuned, tmp_path):
    arguments = ["--tuned", tuned, "--epochs", 2, "--out", tmp_path]
    call(*arguments, "--trainings", 1)
    stderr = call(*arguments, "--trainings", 2).stderr
    assert len(ordered) == 4
    assert "tuned 1: val_loss 0.5000, accuracy 0.5000 (kept)" in stderr


def test_of_a_campaign_come_the_best_trial_and_the_network_it_set_out_from(ordered, tmp_path):
    def objective(trial):
        for epoch in trial.steps():
            trial.report(val_loss=trial.params["lr"] / epoch)

    space = Space(
        lr=Float(0.001, 0.1),
        bin_size=Choice([16, 32]),
        dropout=Constant(0.1),
        preset=Constant("delphes"),
        events=Constant(12),
    )
    scheduler = ASHA(max_step=3, min_step=1, eta=3)
    campaign = tmp_path / "campaign"
    made = Tuner(objective, space, metric="val_loss", scheduler=scheduler, path=campaign)
    made.debug(trials=3)
    call("--campaign", campaign, "--trainings", 1, "--epochs", 1, "--out", tmp_path / "out")
    before, after = (dict(order.params) for order in ordered)
    assert before == {"preset": "delphes", "events": 12}
    assert after == dict(made.best.params)


def test_the_side_before_can_be_given(ordered, tuned, tmp_path):
    default = tmp_path / "default.yaml"
    default.write_text('{"number": 3, "params": {"lr": 1e-5}}')  # as `best --json` prints it
    call("--tuned", tuned, "--default", default, "--trainings", 1, "--out", tmp_path / "out")
    assert ordered[0].params == {"lr": 1e-5, "events": 12}


def test_one_of_file_and_campaign_has_to_be_given(tuned, tmp_path):
    for arguments in ([], ["--tuned", tuned, "--campaign", tmp_path]):
        assert "give either --tuned FILE or --campaign DIR" in call(*arguments, code=2).output


def test_what_is_no_set_of_parameters_is_refused(tmp_path):
    wrong = tmp_path / "list.yaml"
    wrong.write_text("- 1\n- 2\n")
    with pytest.raises(DataError, match="must hold parameters, as name: value"):
        call("--tuned", wrong, "--out", tmp_path)
