"""EDM4HEP files: what is made of one event, in all layouts, and what is refused.

Two files were written by ROOT 6.40. `edm4hep_collections.root` holds the tables of collections, of
a type that uproot reads but does not write; the events are added to a copy of it, in flat branches.
`edm4hep_by_root.root` holds the events `nothing`, `an_event` and `an_event` in vectors of structs,
split into branches within branches as podio writes them (layout with links _from and _to).
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_array

from daskhpo.exceptions import DataError
from daskhpo.mlpf.events import Events
from daskhpo.mlpf.formats.edm4hep import EVENTS_PER_PART, read_edm4hep
from daskhpo.mlpf.formats.edm4hep_elements import build
from daskhpo.mlpf.formats.edm4hep_layout import LAYOUTS, Layout
from daskhpo.mlpf.formats.edm4hep_truth import Generated, match
from daskhpo.mlpf.schema import CLIC, ParticleClass, Target

ak = pytest.importorskip("awkward", reason="EDM4HEP files need awkward")
uproot = pytest.importorskip("uproot", reason="EDM4HEP files need uproot")

COLLECTIONS = Path(__file__).with_name("edm4hep_collections.root")
IDS = {"ECALBarrel": 13, "HCALBarrel": 16, "MUON": 19}
Branches = dict[str, list[Any]]  # {branch: its values in one event}


def columns(collection: str, names: str, rows: list[tuple[Any, ...]]) -> Branches:
    """One list for each column of a collection."""
    named = [f"{collection}.{name}" for name in names.split()]
    return {name: [row[i] for row in rows] for i, name in enumerate(named)}


def an_event(layout: Layout) -> Branches:
    """A pion, a photon with a kaon in its cluster, an electron that radiates, and unseen ones."""
    link_track, link_particle = layout.link("SiTracksMCTruthLink")
    link_hit, link_deposit = layout.link("CalohitMCTruthLink")
    momentum = "momentum.x momentum.y momentum.z mass charge"
    tracks = [  # D0 phi omega Z0 tanLambda time, location, referencePoint.x .y
        (0.1, 0.0, -2.4e-4, 0.2, 1.0, 0.5, 1, 0, 0),
        (0.9, 0.9, -9e-4, 0.9, 0.9, 0.9, 2, 30, 40),
        (0.3, math.pi / 2, 6e-4, 0.4, 0.0, 0.7, 1, 0, 0),
    ]
    hits = {
        "ECALBarrel": [
            (1.0, 1500, 0, 0),
            (2.0, 0, 1500, 10),
            (3.0, 0, 1500, -20),
            (0.5, 0, 1600, 0),
        ],
        "HCALBarrel": [(2.0, 2000, 30, 0)],
        "MUON": [],
    }
    event = columns(
        "MCParticles",
        f"PDG generatorStatus {momentum} daughters_begin daughters_end",
        [
            (23, 2, 0, 0, 0, 91.2, 0, 0, 2),
            (211, 1, 6.0, 0, 8.0, 0, 1, 2, 2),  # makes track 0 and cluster 0
            (22, 1, 0, 5.0, 0, 0, 0, 2, 2),  # makes cluster 1
            (-12, 1, 9, 9, 9, 0, 0, 2, 2),
            (11, 1, 0, 2.0, 0, 0.0005, -1, 2, 3),  # makes track 1 with its daughter
            (22, 0, 0, 1, 0, 0, 0, 3, 3),
            (130, 1, 0, 0.6, 0.8, 0, 0, 3, 3),  # has half of its energy in cluster 1
            (2112, 1, 0, 0, 9, 0.94, 0, 3, 3),  # leaves too little
        ],
    )
    event |= columns(layout.daughters, "index", [(1,), (2,), (5,)])
    event |= columns(
        "SiTracks_Refitted",
        "chi2 ndf trackStates_begin trackStates_end",
        [(12.0, 8, 0, 2), (math.nan, 6, 2, 3)],
    )
    event |= {name: [0.25, 0.5] for name in layout.dedx}
    event |= {layout.radius: [50.0, 0.0]} if layout.radius else {}
    event |= columns(layout.states, "D0 phi omega Z0 tanLambda time", tracks)
    if layout.radius is None:
        at_hit = [row[6:] for row in tracks]
        event |= columns(layout.states, "location referencePoint.x referencePoint.y", at_hit)
    event |= columns(
        "PandoraClusters",
        "energy position.x position.y position.z iTheta phi hits_begin hits_end",
        [(3.5, 1600, 10, 0, math.pi / 2, 0.0, 0, 2), (6, 0, 1500, -5, 1.0, math.pi / 2, 2, 5)],
    )
    members = [(13, 0), (16, 0), (13, 1), (13, 2), (13, 3)]
    event |= columns(layout.hits, "collectionID index", members)
    event |= columns("SiTracksMCTruthLink", "weight", [(1.0,), (0.1,), (0.15,)])
    event |= columns(link_track, "index", [(0,), (1,), (1,)])
    event |= columns(link_particle, "index", [(1,), (4,), (5,)])
    deposits = [
        (13, 0, 1, 1.0),
        (16, 0, 1, 2.0),
        (13, 1, 2, 2.0),
        (13, 2, 2, 3.0),
        (13, 3, 6, 0.5),
        (13, 3, 7, 0.01),
    ]
    event |= columns("CalohitMCTruthLink", "weight", [row[3:] for row in deposits])
    event |= columns(link_hit, "collectionID index", [row[:2] for row in deposits])
    event |= columns(link_deposit, "index", [row[2:3] for row in deposits])
    event |= columns(
        layout.candidates,
        f"{layout.candidate_id} {momentum} tracks_begin tracks_end clusters_begin clusters_end",
        [
            (211, 5, 0, 5, 0.14, 1, 0, 1, 0, 1),
            (0, 1, 1, 1, 1, 0, 1, 1, 1, 1),
            (22, 0, 4, 3, 0, 0, 1, 1, 1, 2),
            (-11, 0, 2, 0, 0, 1, 1, 2, 2, 2),
        ],
    )
    event |= columns(layout.candidate_tracks, "index", [(0,), (1,)])
    event |= columns(layout.candidate_clusters, "index", [(0,), (1,)])
    for name, rows in hits.items():
        event |= columns(name, "energy position.x position.y position.z", rows)
    return event


def nothing(layout: Layout) -> Branches:
    """An event in which nothing was seen or generated."""
    return {name: [] for name in an_event(layout)}


def write(path: Path, events: list[Branches], kind: str = "events") -> Path:
    """Write a file as podio does, with flat branches in place of those within branches."""
    shutil.copy(COLLECTIONS, path)
    content = {}
    for name in events[0]:
        number = "int64" if all(type(v) is int for e in events for v in e[name]) else "float64"
        content[name] = ak.values_astype(ak.Array([*(e[name] for e in events), [0]])[:-1], number)
    with uproot.update(path) as file:
        file.mktree(kind, {name: ak.type(array).content for name, array in content.items()})
        file[kind].extend(content)
    return path


def read(path: Path, **settings: float) -> Events:
    return Events.concatenate([Events.empty(CLIC), *read_edm4hep(path, **settings)])


@pytest.fixture(params=LAYOUTS, ids=lambda layout: layout.name)
def layout(request: pytest.FixtureRequest) -> Layout:
    return request.param


def test_tracks_and_clusters_have_the_columns_of_the_public_files(
    tmp_path: Path, layout: Layout
) -> None:
    events = read(write(tmp_path / "a.root", [nothing(layout), an_event(layout)]))
    assert events.counts.tolist() == [0, 4]
    assert events.schema is CLIC
    eta = math.asinh(1)
    track = [1, 5, eta, 0, 1, math.sqrt(50), 12, 8, 0.25, 0.25, 50, 1, 0.1, -2.4e-4, 0.2, 0.5, 0]
    track[9] = 0.25
    assert events.X[0] == pytest.approx(track, rel=1e-6)
    other = [1, 2, 0, 1, 0, 2, 0, 6, 0.5, 0.5, 0, 0, 0.3, 6e-4, 0.4, 0.7, 0]
    assert events.X[1] == pytest.approx(other, rel=1e-6, abs=1e-7)
    mean_x = (1 * 1500 + 2 * 2000) / 3
    sigma_x = math.sqrt((1 * (1500 - mean_x) ** 2 + 2 * (2000 - mean_x) ** 2) / 3)
    sigma_y = math.sqrt((1 * 20**2 + 2 * 10**2) / 3)
    cluster = [2, 3.5, 0, 0, 1, 3.5, 1600, 10, 0, math.pi / 2, 1, 2, 0, 2, sigma_x, sigma_y, 0]
    assert events.X[2] == pytest.approx(cluster, rel=1e-6, abs=1e-6)
    assert events.X[3, 1] == pytest.approx(6 * math.sin(1.0), rel=1e-6)
    assert events.X[3, 2] == pytest.approx(-math.log(math.tan(0.5)), rel=1e-6)
    assert events.X[3, 10:14].tolist() == [5.5, 0, 0, 3]


def test_targets_follow_the_links_to_the_truth(tmp_path: Path, layout: Layout) -> None:
    events = read(write(tmp_path / "a.root", [an_event(layout)]))
    pion, electron, bare, photon = events.ygen
    eta = math.asinh(8 / 6)
    assert pion == pytest.approx([ParticleClass.CHARGED_HADRON, 1, 6, eta, 0, 1, 10], rel=1e-6)
    assert electron[:3] == pytest.approx([ParticleClass.ELECTRON, -1, 2])
    assert not bare.any()  # its pion is at the track
    # The photon, to which the kaon of the same cluster was added.
    together = [ParticleClass.PHOTON, 0, 5.6, math.asinh(0.8 / 5.6), 1, 0, 6]
    assert photon == pytest.approx(together, rel=1e-6, abs=1e-6)


def test_candidates_are_at_their_track_or_else_at_their_cluster(
    tmp_path: Path, layout: Layout
) -> None:
    events = read(write(tmp_path / "a.root", [an_event(layout)]))
    names = [ParticleClass(int(kind)).name for kind in events.ycand[:, Target.CLASS]]
    assert names == ["CHARGED_HADRON", "ELECTRON", "NONE", "PHOTON"]
    assert events.ycand[:, Target.CHARGE].tolist() == [1, 1, 0, 0]
    assert events.ycand[0, Target.ENERGY] == pytest.approx(math.sqrt(50 + 0.14**2))
    assert events.ycand[3, Target.PT] == pytest.approx(4)
    assert not events.ycand[2].any()


def test_all_layouts_give_the_same_events(tmp_path: Path) -> None:
    first, *others = (
        read(write(tmp_path / f"{number}.root", [an_event(layout), nothing(layout)]))
        for number, layout in enumerate(LAYOUTS)
    )
    for other in others:
        for name in ("ygen", "ycand", "counts"):
            assert np.array_equal(getattr(first, name), getattr(other, name))
        assert np.array_equal(first.X, other.X)


def test_branches_within_branches_are_read_as_flat_ones_are(tmp_path: Path) -> None:
    layout = LAYOUTS[2]
    flat = read(write(tmp_path / "a.root", [nothing(layout), an_event(layout), an_event(layout)]))
    by_root = read(COLLECTIONS.with_name("edm4hep_by_root.root"))
    assert by_root.counts.tolist() == flat.counts.tolist() == [0, 4, 4]
    for name in ("X", "ygen", "ycand"):
        assert np.allclose(getattr(by_root, name), getattr(flat, name), rtol=1e-6, atol=1e-6)


def test_the_magnetic_field_gives_tracks_their_pt(tmp_path: Path) -> None:
    path = write(tmp_path / "a.root", [an_event(LAYOUTS[1])])
    full, half = read(path), read(path, magnetic_field=2.0)
    assert half.X[:2, [1, 5]] == pytest.approx(full.X[:2, [1, 5]] / 2)
    assert np.array_equal(half.X[2:], full.X[2:])


def test_long_files_come_in_parts_of_which_none_is_lost(tmp_path: Path) -> None:
    layout = LAYOUTS[2]
    some = [an_event(layout), nothing(layout)] * (EVENTS_PER_PART // 2) + [an_event(layout)]
    parts = list(read_edm4hep(write(tmp_path / "a.root", some)))
    assert [len(part) for part in parts] == [EVENTS_PER_PART, 1]
    assert np.array_equal(parts[0][0].X, parts[1].X)


def test_a_track_without_curvature_has_no_pt_and_no_infinity(tmp_path: Path) -> None:
    event = an_event(LAYOUTS[0])
    event["SiTracks_1.omega"][0] = 0.0
    events = read(write(tmp_path / "a.root", [event]))
    assert events.X[0, [1, 5]].tolist() == [0, 0]


# --- What is refused -----------------------------------------------------------------------


def change(branch: str, row: int, value: float) -> Callable[[Branches], None]:
    def apply(event: Branches) -> None:
        event[branch][row] = value

    return apply


def shorten(branch: str) -> Callable[[Branches], None]:
    return lambda event: event[branch].pop()


Bad = list[tuple[Callable[[Branches], Any], str]]
LINKS: Bad = [
    (change("MCParticles.charge", 1, 2.0), "has charge 2.0; allowed are -1, 0, 1"),
    (change("MCParticles.daughters_end", 4, 9), "daughters_begin and _end of row 4 are 2 and 9"),
    (change("MCParticles.daughters_end", 4, 1), "daughters_begin and _end of row 4 are 2 and 1"),
    (change("_MCParticles_daughters.index", 0, 8), "_MCParticles_daughters.index of row 0 is 8"),
    (change("SiTracks_Refitted.trackStates_end", 1, 7), "trackStates_begin and _end of row 1"),
    (change("SiTracks_Refitted.trackStates_end", 1, 2), "track 1 has no track state"),
    (change("_SiTracksMCTruthLink_rec.index", 2, 2), "SiTracksMCTruthLink_rec.index of row 2 is 2"),
    (change("_SiTracksMCTruthLink_sim.index", 0, -1), "TruthLink_sim.index of row 0 is -1"),
    (change("SiTracksMCTruthLink.weight", 0, -0.5), "weight of row 0 is -0.5"),
    (change("_CalohitMCTruthLink_rec.index", 0, 4), "is hit 4 of collection 13; there are ECAL"),
    (change("_CalohitMCTruthLink_rec.collectionID", 0, 12), "is hit 0 of collection 12"),
    (change("_CalohitMCTruthLink_sim.index", 0, 99), "CalohitMCTruthLink_sim.index of row 0 is 99"),
    (change("_PandoraClusters_hits.index", 1, 1), "_PandoraClusters_hits of row 1 is hit 1"),
    (change("PandoraClusters.hits_end", 1, 6), "PandoraClusters.hits_begin and _end of row 1"),
    (change("_PandoraPFOs_tracks.index", 0, 5), "_PandoraPFOs_tracks.index of row 0 is 5"),
    (change("_PandoraPFOs_tracks.index", 1, 0), "candidate 3 has no track or cluster of its own"),
    (shorten("_CalohitMCTruthLink_sim.index"), "has 5 rows, CalohitMCTruthLink has 6 weights"),
]
IN_FILES: Bad = [
    (change("MCParticles.momentum.x", 1, math.nan), "momentum.x of row 1 is nan"),
    (change("_SiTracks_trackStates.omega", 0, math.inf), "trackStates.omega of row 0 is inf"),
    (change("MCParticles.momentum.x", 1, 1e300), "too large a value"),
    (shorten("MCParticles.mass"), "MCParticles.mass has 7 rows, MCParticles.PDG has 8"),
    LINKS[0],
    LINKS[9],
]


@pytest.mark.parametrize(("spoil", "said"), LINKS, ids=[said for _, said in LINKS])
def test_what_points_to_nothing_is_refused_by_branch_and_row(
    spoil: Callable[[Branches], Any], said: str
) -> None:
    event = an_event(LAYOUTS[1])
    spoil(event)
    held = {name: np.array(values) for name, values in event.items()}
    with pytest.raises(DataError, match=re.escape(said)):
        build(held, LAYOUTS[1], IDS, 4.0)


@pytest.mark.parametrize(("spoil", "said"), IN_FILES, ids=[said for _, said in IN_FILES])
def test_a_bad_event_is_refused_by_file_event_and_branch(
    tmp_path: Path, spoil: Callable[[Branches], Any], said: str
) -> None:
    good, bad = an_event(LAYOUTS[1]), an_event(LAYOUTS[1])
    spoil(bad)
    path = write(tmp_path / "bad.root", [good, bad])
    with pytest.raises(DataError) as refused:
        read(path)
    assert str(refused.value).startswith(f"{path}: event 1: ")
    assert said in str(refused.value)


def test_row_numbers_that_are_no_whole_numbers_are_refused(tmp_path: Path) -> None:
    event = an_event(LAYOUTS[1])
    event["_PandoraPFOs_tracks.index"] = [0.5, 1.0]
    path = write(tmp_path / "bad.root", [event])
    with pytest.raises(DataError, match="PFOs_tracks.index holds .* allowed are lists of whole"):
        read(path)


@pytest.mark.parametrize("branch", ["MCParticles.PDG", "_PandoraClusters_hits.index"])
def test_a_missing_branch_is_named(tmp_path: Path, branch: str) -> None:
    event = an_event(LAYOUTS[1])
    del event[branch]
    path = write(tmp_path / "bad.root", [event])
    with pytest.raises(DataError, match=f"no branch '{branch}'.*_rec and _sim; 1 of"):
        read(path)


def test_files_without_calorimeters_or_half_of_one_are_refused(tmp_path: Path) -> None:
    event = an_event(LAYOUTS[1])
    del event["MUON.position.z"]
    with pytest.raises(DataError, match=r"no branch 'MUON.position.z'"):
        read(write(tmp_path / "a.root", [event]))
    bare = {name: held for name, held in event.items() if name.split(".")[0] not in IDS}
    with pytest.raises(DataError, match="no calorimeter hits; known are ECALBarrel"):
        read(write(tmp_path / "b.root", [bare]))


def test_what_is_no_edm4hep_file_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.root", [an_event(LAYOUTS[1])]).read_bytes()
    (tmp_path / "text.root").write_text("no ROOT file")
    (tmp_path / "cut.root").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.root").write_bytes(b"")
    for name, said in (("text", "not"), ("empty", "not"), ("cut", "holds no")):
        with pytest.raises(DataError, match=f"{name}.root: {said}.* readable"):
            read(tmp_path / f"{name}.root")
    other = write(tmp_path / "other.root", [an_event(LAYOUTS[1])], kind="collisions")
    with pytest.raises(DataError, match="holds no readable tree 'events'"):
        read(other)
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "none.root")


# --- The matching, against the rules told one by one ---------------------------------------


def told(event: Generated, share: np.ndarray, energy: np.ndarray) -> tuple[Any, ...]:
    """The four rules of `edm4hep_truth`, as slowly as they are written there."""
    share, energy = share.copy(), energy.copy()
    own_share, own_energy = share.copy(), energy.copy()
    for mother, daughter in event.daughters:
        if event.status[mother] == 1 and abs(event.pdg[mother]) not in (12, 14, 16):
            share[mother] += own_share[daughter]
            energy[mother] += own_energy[daughter]
    tracks, clusters = {}, {}
    everyone = [
        i
        for i in range(len(event.pdg))
        if event.status[i] == 1
        and (max(share[i], default=0) >= 0.2 or sum(energy[i]) > 0.05 * event.p4[i, 3])
    ]
    late = []
    for i in sorted(everyone, key=lambda i: -event.p4[i, 3]):
        for weights, taken in ((share[i], tracks), (energy[i], clusters)):
            free = [e for e in range(len(weights)) if weights[e] > 0 and e not in taken]
            if free:
                taken[max(free, key=lambda e: weights[e])] = i
                break
        else:
            late.append(i)
    p4 = event.p4.copy()
    for i in late:
        if energy[i].any():
            p4[clusters[int(np.argmax(energy[i]))]] += event.p4[i]
    return (
        [tracks.get(t, -1) for t in range(share.shape[1])],
        [clusters.get(c, -1) for c in range(energy.shape[1])],
        p4,
    )


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_matching_is_what_its_rules_say(data: st.DataObject) -> None:
    n, t, c = (data.draw(st.integers(low, 6)) for low in (1, 0, 0))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    p4 = rng.uniform(1, 9, (n, 4))
    # Eighths add up exactly in any order, so that equal weights are equal in both.
    weights = st.sampled_from([0.0, 0.0, 0.0, 0.125, 0.25, 0.5])
    share = data.draw(arrays(float, (n, t), elements=weights))
    energy = data.draw(arrays(float, (n, c), elements=weights))
    pairs = data.draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=4))
    event = Generated(
        pdg=rng.choice([11, -12, 22, 211], n),
        status=rng.choice([0, 1, 1, 1], n),
        p4=p4,
        daughters=np.array(pairs, dtype=np.int64).reshape(-1, 2),
    )
    found = match(event, csr_array(share), csr_array(energy))
    of_track, of_cluster, summed = told(event, share, energy)
    assert found.of_track.tolist() == of_track
    assert found.of_cluster.tolist() == of_cluster
    assert np.allclose(found.p4, summed)


def test_no_particle_is_at_two_elements_and_several_may_join_one(tmp_path: Path) -> None:
    none = np.zeros((0, 2), dtype=np.int64)
    p4 = np.array([[3.0, 0, 0, 3], [2.0, 0, 0, 2], [1.0, 0, 0, 1]])
    event = Generated(np.array([22] * 3), np.ones(3, dtype=np.int64), p4, none)
    energy = csr_array(np.array([[2.0], [1.0], [0.5]]))
    found = match(event, csr_array((3, 0)), energy)
    assert found.of_cluster.tolist() == [0]
    assert found.p4[0].tolist() == [6, 0, 0, 6]
    alone = match(replace(event, status=np.array([1, 0, 0])), csr_array((3, 0)), energy)
    assert alone.p4[0].tolist() == [3, 0, 0, 3]
