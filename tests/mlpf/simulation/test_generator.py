"""Making events: processes, pile-up, seeds, and errors before Pythia starts."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from daskhpo.exceptions import DataError
from daskhpo.mlpf import generator
from daskhpo.mlpf.generator import generate_events, generate_particles, mix_pileup
from daskhpo.mlpf.particles import Particles


def cloud(n_events: int, per_event: int, pdg: int = 211) -> Particles:
    """Events of equal particles that fly along x from the centre."""
    n = n_events * per_event
    return Particles(
        pdg=np.full(n, pdg),
        charge=np.ones(n),
        momentum=np.tile([3.0, 0.0, 4.0], (n, 1)),
        energy=np.full(n, 5.1),
        vertex=np.tile([0.1, 0.0, 0.0], (n, 1)),
        event=np.repeat(np.arange(n_events), per_event),
        n_events=n_events,
    )


@pytest.mark.parametrize(
    ("process", "events", "seed", "pileup", "message"),
    [
        ("higgs", 1, 1, 0.0, "process is 'higgs'; allowed are ttbar, qcd"),
        ("ttbar", -1, 1, 0.0, "events is -1"),
        ("ttbar", 1, -1, 0.0, "seed is -1"),
        ("ttbar", 1, 1, -0.5, "pileup is -0.5"),
        ("ttbar", 1, 1, float("nan"), "pileup is nan"),
    ],
)
def test_bad_settings_are_refused(
    process: str, events: int, seed: int, pileup: float, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        generate_events(process, events, seed=seed, pileup=pileup)


def test_without_pythia_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pythia8mc", None)
    with pytest.raises(ImportError, match=r"pip install daskhpo\[mlpf\]"):
        generate_particles("ttbar", 1, seed=1)


def test_pileup_adds_a_poisson_number_of_turned_and_moved_collisions() -> None:
    hard, pool = cloud(400, 2, pdg=13), cloud(50, 3)
    mixed = mix_pileup(hard, pool, mean=7.0, rng=np.random.default_rng(5))
    added = mixed.select(mixed.pdg == 211)
    collisions = np.bincount(added.event, minlength=400) / 3
    assert np.all(collisions == np.round(collisions))
    assert collisions.mean() == pytest.approx(7.0, abs=4 * np.sqrt(7 / 400))
    assert collisions.var() == pytest.approx(7.0, rel=0.3)
    assert added.pt == pytest.approx(3.0)
    assert added.momentum[:, 2] == pytest.approx(4.0)
    assert np.hypot(added.vertex[:, 0], added.vertex[:, 1]) == pytest.approx(0.1)
    assert np.abs(np.mean(np.exp(1j * added.phi))) < 0.06
    assert added.vertex[:, 2].std() == pytest.approx(53.0, rel=0.1)
    assert np.abs(added.vertex[:, 2]).max() < 250.0
    # The particles of one collision stay together.
    assert np.ptp(added.phi.reshape(-1, 3), axis=1) == pytest.approx(0.0)
    assert np.array_equal(mixed.momentum[: len(hard)], hard.momentum)


class TestWithPythia:
    @pytest.fixture(autouse=True)
    def _pythia(self) -> None:
        pytest.importorskip("pythia8mc", reason="needs the extra mlpf")

    def test_the_same_seed_gives_the_same_events_and_another_one_others(self) -> None:
        first, again, other = (generate_events("ttbar", 3, seed=seed) for seed in (5, 5, 6))
        assert np.array_equal(first.X, again.X)
        assert not np.array_equal(first.X[:30], other.X[:30])

    def test_momentum_and_charge_of_a_collision_are_conserved(self) -> None:
        made = generate_particles("ttbar", 5, seed=2)
        for event in range(5):
            one = made.select(made.event == event)
            assert one.energy.sum() == pytest.approx(14_000.0, rel=1e-6)
            assert one.momentum.sum(axis=0) == pytest.approx(0.0, abs=0.01)
            assert one.charge.sum() == pytest.approx(2.0)
        # Long-lived strange particles are left undecayed, neutral pions and charm are not.
        kinds = set(np.abs(made.pdg).tolist())
        assert {310, 130, 22, 211} <= kinds
        assert not {111, 411, 421} & kinds

    def test_lepton_collisions_are_clean(self) -> None:
        made = generate_particles("ee_ttbar", 3, seed=2)
        assert made.energy.sum() == pytest.approx(3 * 380.0, rel=1e-6)

    def test_no_events_are_asked_for_and_none_come(self) -> None:
        assert len(generate_events("ttbar", 0, seed=1)) == 0

    def test_pileup_makes_events_fuller(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(generator, "POOL", 30)
        monkeypatch.setattr(generator, "PARTICLES_AT_ONCE", 5_000)
        clean = generate_events("qcd", 8, seed=4)
        full = generate_events("qcd", 8, seed=4, pileup=20.0)
        assert len(full) == len(clean) == 8
        assert full.counts.mean() > 3 * clean.counts.mean()
