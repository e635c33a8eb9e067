"""Making events: processes, pile-up, seeds, and errors before Pythia starts."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest

from daskhpo.exceptions import DataError
from daskhpo.mlpf.events import Events, load_sample
from daskhpo.mlpf.schema import Target
from daskhpo.mlpf.simulation import collisions, generator
from daskhpo.mlpf.simulation.collisions import collide
from daskhpo.mlpf.simulation.detector import simulate
from daskhpo.mlpf.simulation.generator import (
    PROCESSES,
    generate_events,
    generate_events_in_parts,
    generate_particles,
    provenance,
)
from daskhpo.mlpf.simulation.particles import Particles
from daskhpo.mlpf.simulation.pileup import mix_pileup


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
        ("ee_zh", 1, 1, 50.0, "pileup is 50.0; ee_zh has none"),
    ],
)
def test_bad_settings_are_refused(
    process: str, events: int, seed: int, pileup: float, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        generate_events(process, events, seed=seed, pileup=pileup)


def test_bad_settings_are_refused_before_the_first_part_is_asked_for() -> None:
    with pytest.raises(DataError, match="process is 'higgs'"):
        generate_events_in_parts("higgs", 1, seed=1)
    with pytest.raises(DataError, match="jobs is 0; it must be at least 1"):
        generate_events_in_parts("ttbar", 1, seed=1, jobs=0)


def test_the_provenance_says_what_one_has_to_know_to_make_events_again() -> None:
    said = json.loads(json.dumps(provenance("qcd", seed=7, pileup=50.0)))
    assert (said["process"], said["seed"], said["pileup"]) == ("qcd", 7, 50.0)
    assert "PhaseSpace:pTHatMin = 20." in said["settings"]
    assert set(said["versions"]) == {"daskhpo", "pythia8mc", "numpy"}


def test_events_that_are_put_together_and_taken_apart_are_the_same() -> None:
    first, second = cloud(3, 2), cloud(4, 5, pdg=13)
    both = Particles.concatenate([first, second])
    assert both.n_events == 7
    again = both.between(3, 7)
    assert np.array_equal(again.event, second.event)
    assert np.array_equal(again.momentum, second.momentum)
    assert np.all(again.pdg == 13)
    assert len(Particles.concatenate([])) == 0


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


class _Failing:
    """A Pythia that gives up all but every second, or no, event of a batch."""

    def __init__(self, pythia: Any, *, every: int) -> None:
        self.pythia, self.every = pythia, every
        self.particleData = pythia.particleData

    def nextBatch(self, n: int, mode: str) -> Any:
        assert mode == "skip"
        made = self.pythia.nextBatch(n, mode)
        return made[:0] if self.every == 1 else made[:: self.every]


def assert_same(a: Events, b: Events) -> None:
    for name in ("X", "ygen", "ycand", "counts"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name


class TestWithPythia:
    @pytest.fixture(autouse=True)
    def _pythia(self) -> None:
        pytest.importorskip("pythia8mc", reason="needs the extra mlpf")

    def test_the_same_seed_gives_the_same_events_and_another_one_others(self) -> None:
        first, again, other = (generate_events("ee_qq", 3, seed=seed) for seed in (5, 5, 6))
        assert np.array_equal(first.X, again.X)
        assert not np.array_equal(first.X[:20], other.X[:20])

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

    @pytest.mark.parametrize("process", [name for name in PROCESSES if name.startswith("ee_")])
    def test_lepton_collisions_are_clean_and_happen_at_the_centre(self, process: str) -> None:
        made = generate_particles(process, 5, seed=2)
        assert made.energy.sum() == pytest.approx(5 * 380.0, rel=1e-6)
        assert made.charge.sum() == pytest.approx(0.0)
        assert np.median(np.linalg.norm(made.vertex, axis=1)) < 1.0  # mm
        assert np.all(generate_events(process, 5, seed=2).counts > 0)

    def test_the_decays_are_those_asked_for(self) -> None:
        # W pairs that decay to quarks leave hardly any neutrino energy, Z and Higgs bosons do.
        def share(process: str) -> float:
            made = generate_particles(process, 40, seed=3)
            neutrino = np.isin(np.abs(made.pdg), (12, 14, 16))
            return float(made.energy[neutrino].sum() / made.energy.sum())

        assert share("ee_ww") < 0.03 < 0.06 < share("ee_zh")

    def test_proton_collisions_are_spread_along_the_beam(self) -> None:
        made = generate_particles("qcd", 40, seed=2)
        z = np.array([np.median(made.vertex[made.event == n, 2]) for n in range(40)])
        assert 25.0 < z.std() < 90.0  # mm

    def test_the_record_is_taken_over_as_pythia_has_it(self) -> None:
        """Particle by particle, against a loop over Pythia's own record."""
        process, seed = PROCESSES["ttbar"], np.random.SeedSequence([8, 0])
        made = collide(process, 3, seed)
        pythia = collisions._start(process, seed)
        rows: list[tuple[float, ...]] = []
        for event in range(3):
            assert pythia.next()
            for p in pythia.event:
                if p.isFinal():
                    momentum, vertex = (p.px(), p.py(), p.pz()), (p.xProd(), p.yProd(), p.zProd())
                    rows.append((p.id(), p.charge(), *momentum, p.e(), *vertex, event))
        table = np.array(rows)
        assert np.array_equal(made.pdg, table[:, 0])
        assert np.array_equal(made.charge, table[:, 1])
        assert np.array_equal(made.momentum, table[:, 2:5])
        assert np.array_equal(made.energy, table[:, 5])
        assert np.array_equal(made.vertex, table[:, 6:9])
        assert np.array_equal(made.event, table[:, 9])

    def test_batches_of_pythia_leave_no_trace(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seed = np.random.SeedSequence(4)
        whole = collide(PROCESSES["ee_qq"], 7, seed)
        monkeypatch.setattr(collisions, "BATCH", 3)
        batches = collide(PROCESSES["ee_qq"], 7, seed)
        assert np.array_equal(whole.momentum, batches.momentum)
        assert np.array_equal(whole.event, batches.event)
        assert batches.n_events == 7

    def test_events_that_pythia_gives_up_are_made_anew(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        start = collisions._start
        monkeypatch.setattr(collisions, "_start", lambda *given: _Failing(start(*given), every=2))
        assert collide(PROCESSES["ee_qq"], 5, np.random.SeedSequence(4)).n_events == 5
        monkeypatch.setattr(collisions, "_start", lambda *given: _Failing(start(*given), every=1))
        with pytest.raises(DataError, match="Pythia failed 5 times in a row at event 0"):
            collide(PROCESSES["ee_qq"], 5, np.random.SeedSequence(4))

    def test_the_parts_are_the_whole(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(generator, "EVENTS_PER_PART", 4)
        parts = list(generate_events_in_parts("ee_ttbar", 10, seed=5))
        assert [len(part) for part in parts] == [4, 4, 2]
        assert_same(Events.concatenate(parts), generate_events("ee_ttbar", 10, seed=5))
        assert not np.array_equal(parts[0].X[:20], parts[1].X[:20])
        # Whoever makes a part needs not have made those before it.
        assert_same(generate_events("ee_ttbar", 4, seed=5), parts[0])

    def test_events_and_particles_are_of_the_same_collisions(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(generator, "EVENTS_PER_PART", 4)
        particles = generate_particles("ee_ttbar", 6, seed=5)
        made = generate_events("ee_ttbar", 6, seed=5)
        plan = generator._Plan("ee_ttbar", 6, 5, 0.0)
        for part, (first, last) in enumerate([(0, 4), (4, 6)]):
            again = simulate(particles.between(first, last), plan.rng(3, part))
            assert_same(again, made[first:last])

    def test_events_do_not_depend_on_the_number_of_processes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(generator, "POOL", 10)
        monkeypatch.setattr(generator, "MINIMUM_BIAS", PROCESSES["qcd"])  # starts faster
        size = generator.EVENTS_PER_PART_WITH_PILEUP
        one, two = (
            generate_events("qcd", size + 1, seed=6, pileup=1.0, jobs=jobs) for jobs in (1, 2)
        )
        assert len(one) == size + 1
        assert_same(one, two)

    def test_the_shipped_sample_is_made_again(self) -> None:
        """Its recipe in data/SOURCES.md still holds: the first collision, to the last bit."""
        sample = load_sample()
        plan = generator._Plan("ttbar", 600, 20260101, 0.0)
        collision = collide(plan.process, 1, plan.seeds(0, 0))
        targets = sample.ygen[: sample.counts[0]]
        track = sample.X[: sample.counts[0], 0] == 2
        pt = np.sort(targets[track, Target.PT])
        nearest = np.abs(collision.pt[:, None] / pt - 1).min(axis=0)
        assert nearest.max() < 2e-4  # the sample's mantissas are rounded

    def test_no_events_are_asked_for_and_none_come(self) -> None:
        assert len(generate_events("ttbar", 0, seed=1)) == 0

    def test_pileup_makes_events_fuller(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(generator, "POOL", 30)
        monkeypatch.setattr(generator, "PARTICLES_AT_ONCE", 5_000)
        clean = generate_events("qcd", 8, seed=4)
        full = generate_events("qcd", 8, seed=4, pileup=20.0)
        assert len(full) == len(clean) == 8
        assert full.counts.mean() > 3 * clean.counts.mean()
