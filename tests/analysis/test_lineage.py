"""The schedule of parameters that led to a trial, and the story of a child."""

from __future__ import annotations

import csv
import json
import math

import pytest
from click.testing import CliRunner

from daskhpo.analysis.explain import explain
from daskhpo.analysis.lineage import ancestry, schedule, to_csv, to_table
from daskhpo.analysis.reading import Reading
from daskhpo.cli import hpo
from daskhpo.exceptions import CampaignError, StoreError

PBT = {
    "type": "pbt",
    "max_step": 30,
    "interval": 10,
    "population": 5,
    "perturb": ["lr"],
    "resample": 0.0,
}
SPACE = {
    "lr": {"type": "float", "low": 0.001, "high": 1.0, "log": True},
    "width": {"type": "choice", "choices": [64]},
}
LEAVING = {"pause": "paused", "stop": "stopped"}


def train(made, job, value):
    """Report the next milestone of a job, and leave as decided."""
    made.tell(job.number, LEAVING[made.report(job.number, job.stop, value).decision])


@pytest.fixture
def family(make):
    """Trials 0 to 4, and 5, which took the place of 4 with the weights of 3."""
    points = [{"lr": lr, "width": 64} for lr in (0.1, 0.2, 0.3, 0.4, 0.5)]
    made = make(scheduler=PBT, space=SPACE, points=points)
    for point in points:
        made.study.offer(point, origin="user")
    for value in (0.5, 0.4, 0.6, 0.1, 0.9):
        train(made, made.study.ask(), value)
    values = {5: 0.05, 0: 0.7, 1: 0.3, 2: 0.35, 3: 0.2}
    for _ in range(5):
        job = made.study.ask()
        train(made, job, values[job.number])
    return made.close()


def rates(rows):
    return [(row.from_step, row.to_step, row.trial) for row in rows]


# ---------------------------------------------------------------------- schedules


def test_a_schedule_goes_back_over_the_parents(family):
    rows = schedule(Reading(family.path), 5)
    assert rates(rows) == [(1, 10, 3), (11, 20, 5)]
    assert [row.value for row in rows] == [0.1, 0.05]
    assert rows[0].params == {"lr": 0.4, "width": 64}
    assert rows[1].params == family.study.trials[5].params
    assert rows[1].params["lr"] in (pytest.approx(0.32), pytest.approx(0.48))


def test_by_default_it_is_that_of_the_incumbent(family):
    assert family.study.best.number == 5
    assert schedule(Reading(family.path)) == schedule(Reading(family.path), 5)


def test_the_schedule_of_the_incumbent_ends_where_it_was_best(make):
    made = make(scheduler=PBT, space=SPACE)
    made.study.ask()
    for step, value in ((4, 0.1), (10, 0.5)):
        made.report(0, step, value)
    made.close()
    for source in (made.study, Reading(made.path)):
        assert [(row.to_step, row.value) for row in schedule(source)] == [(4, 0.1)]
        assert [(row.to_step, row.value) for row in schedule(source, 0)] == [(10, 0.5)]


def test_the_stretches_of_a_grandchild_fit_together(make):
    made = make(scheduler=PBT | {"max_step": 60}, space=SPACE)
    while (job := made.study.ask()) is not None:
        train(made, job, 1 / (job.number + 1) / job.stop)  # later ones are better
    made.close()
    lines = [ancestry(made.study, number) for number in made.study.trials]
    longest = max(lines, key=len)
    assert len(longest) >= 3
    rows = schedule(Reading(made.path), longest[-1].number)
    assert [row.trial for row in rows] == [trial.number for trial in longest]
    assert rows[0].from_step == 1
    assert [row.from_step for row in rows[1:]] == [row.to_step + 1 for row in rows[:-1]]
    assert rows[-1].to_step == longest[-1].step
    assert [row.params for row in rows] == [trial.params for trial in longest]
    assert all(math.isfinite(row.value) for row in rows)


def test_a_trial_without_a_parent_has_one_stretch(family):
    assert rates(schedule(Reading(family.path), 2)) == [(1, 20, 2)]


def test_a_study_gives_the_values_that_its_trials_remember(family):
    rows = schedule(family.study, 5)
    assert rates(rows) == rates(schedule(Reading(family.path), 5))
    assert rows[-1].value == 0.05
    assert rows[0].value == 0.1  # the best of trial 3, which has gone on since
    assert [rates([row]) for row in schedule(family.study, 4)] == [[(1, 10, 4)]]


def test_what_a_study_has_forgotten_is_nan(make):
    made = make(scheduler=PBT, space=SPACE)
    for value in (0.5, 0.4, 0.6, 0.1, 0.9):
        train(made, made.study.ask(), value)
    child = made.study.ask()
    job = made.study.ask()
    while job.number != child.parent:
        job = made.study.ask()
    train(made, job, 0.01)
    train(made, child, 0.3)
    assert math.isnan(schedule(made.study, child.number)[0].value)
    made.close()
    assert schedule(Reading(made.path), child.number)[0].value == 0.1


def test_a_child_that_has_reported_nothing_has_its_parents_schedule(make):
    made = make(scheduler=PBT, space=SPACE)
    for value in (0.5, 0.4, 0.6, 0.1, 0.9):
        train(made, made.study.ask(), value)
    child = made.study.ask()
    assert rates(schedule(made.study, child.number)) == [(1, 10, child.parent)]


def test_other_schedulers_have_schedules_too(make):
    made = make()
    made.pause_at(0.5, 0.6)
    made.close()
    assert rates(schedule(Reading(made.path), 1)) == [(1, 1, 1)]
    assert "the same throughout" in to_table(schedule(made.study), metric="loss", unit="epoch")


def test_what_is_not_there_is_named(make):
    made = make()
    with pytest.raises(CampaignError, match="no trial has reported yet"):
        schedule(made.study)
    with pytest.raises(CampaignError, match="trial 7: it has not begun; 0 trials"):
        schedule(made.study, 7)


def test_a_table_shows_what_changes_in_columns(family):
    text = to_table(schedule(Reading(family.path)), metric="loss", unit="epoch")
    header, first, second, *rest = text.splitlines()
    assert header.split() == ["epochs", "trial", "loss", "lr"]
    assert first.split() == ["1-10", "3", "0.1", "0.4"]
    assert second.split()[:3] == ["11-20", "5", "0.05"]
    assert rest == ["", "the same throughout", "  width  64"]


def test_a_csv_file_has_a_row_per_stretch(family, tmp_path):
    rows = schedule(Reading(family.path))
    with open(to_csv(rows, tmp_path / "lr.csv"), newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["from_step"], row["to_step"], row["lr"]) for row in table] == [
        ("1", "10", "0.4"),
        ("11", "20", str(rows[1].params["lr"])),
    ]
    with pytest.raises(StoreError, match="nowhere"):
        to_csv(rows, tmp_path / "nowhere" / "lr.csv")


def test_the_command_prints_it(family, tmp_path):
    def run(*arguments):
        return CliRunner().invoke(hpo, ["schedule", *map(str, arguments)])

    told = run(family.path)
    assert told.exit_code == 0, told.output
    assert told.output.split()[:4] == ["epochs", "trial", "loss", "lr"]
    rows = json.loads(run(family.path, 5, "--json").output)
    assert [row["trial"] for row in rows] == [3, 5]
    assert rows[0]["params"] == {"lr": 0.4, "width": 64}
    assert "2 rows" in run(family.path, "--csv", tmp_path / "lr.csv").output
    assert (tmp_path / "lr.csv").exists()
    missing = run(family.path, 99)
    assert missing.exit_code == 2
    assert "trial 99: it has not begun" in missing.output


def test_the_command_says_when_there_is_nothing_yet(make):
    made = make().close()
    told = CliRunner().invoke(hpo, ["schedule", str(made.path)])
    assert (told.exit_code, "no trial has reported yet" in told.output) == (1, True)


# ---------------------------------------------------------------------- stories


def texts(made, number):
    return [moment.text for moment in explain(made.path, number).moments]


def test_a_child_is_told_whose_place_and_whose_weights_it_has(family):
    rate = family.study.trials[5].params["lr"]
    bred, began, *_, last = texts(family, 5)
    assert bred == (
        "took the place of trial 4 with the weights of trial 3 at epoch 10, "
        f"lr 0.4 -> {rate:.6g}. That one is rank 1 of the 5 recorded at epoch 10 by then"
    )
    assert began == "began on a worker, towards epoch 20, the next milestone"
    assert last.startswith("epoch 20: loss 0.05 is")


def test_the_others_are_told_too(family):
    assert "trial 5 began from its checkpoint of epoch 10" in texts(family, 3)
    stopped, after = texts(family, 4)[-2:]
    assert stopped == (
        "epoch 10: loss 0.9 is rank 5 of the 5 recorded there by then; that is among the worst 1, "
        "who are replaced, so it stopped"
    )
    assert after == "trial 5 took its place"


def test_a_member_that_goes_on_is_told_why_and_when(family):
    told = texts(family, 1)
    assert told[1] == (
        "epoch 10: loss 0.4 is rank 1 of the 2 recorded there by then; too few to compare with, "
        "so it paused with a checkpoint that others may begin from"
    )
    assert told[2].startswith("called back after 3 others had been recorded at epoch 10.")
    found = explain(family.path, 1)
    assert found.outlook == (
        "It goes on when there is a worker for it; those that are furthest behind go first."
    )
    assert "The milestones today (the worst 20% are replaced)" in found.to_text()
    assert [place.milestone for place in found.places] == [10, 20, 30]
    assert (found.places[0].recorded, found.places[0].bar) == (5, 0.6)


def test_one_that_was_ahead_is_told_where_it_was_compared(family):
    told = texts(family, 0)
    assert any(
        "too few to compare with, but at epoch 10 it is rank 3 of 5" in text for text in told
    )


def test_a_child_of_a_failed_member_is_told_so(make):
    made = make(scheduler=PBT, space=SPACE, retries=0)
    for value in (0.5, 0.4, 0.6, 0.1):
        train(made, made.study.ask(), value)
    made.study.ask()
    made.tell(4, "failed", error="out of luck")
    child = made.study.ask()
    made.close()
    assert (
        "took the place of trial 4, which failed, with the weights" in texts(made, child.number)[0]
    )
    assert "trial 5 took its place" in texts(made, 4)


def test_every_story_fits_a_screen(family):
    for number in family.study.trials:
        found = explain(family.path, number)
        json.dumps(found.to_dict(), allow_nan=False)
        assert max(map(len, found.to_text().splitlines())) <= 100


def test_a_sampler_that_knew_earlier_campaigns_is_told_so(make):
    made = make(sampler="bayes")
    for x in (0.25, 0.5):
        made.study.learn({"x": x}, [1, 2], [{"loss": 1.0}, {"loss": 0.5}])
    made.pause_at(0.5)
    made.close()
    words = "which knew 2 trials of earlier campaigns"
    from daskhpo.samplers.base import Learner

    assert (words in texts(made, 0)[0]) is isinstance(made.study.sampler, Learner)
