"""From the branches of one EDM4HEP event to the rows of its tracks and clusters.

Columns and units are those of the public parquet files:

* the pT of a track is 3e-4 |B / omega|, with omega in 1/mm and B in tesla, and 0 for omega 0;
* a track's parameters are those of its first state, at the interaction point. The two older
  layouts look it up among the states of `SiTracks`, as was done for the public files;
* sigma_x, sigma_y and sigma_z of a cluster are the energy-weighted deviations of its hits, 0 where
  the hits have no energy;
* energies of particles and candidates follow from momentum and mass; their class is what the
  element can tell: a track stands for an electron, a muon or a charged hadron, a cluster for a
  photon (so does an electron that has no track) or a neutral hadron, without charge;
* a candidate is at the first of its tracks, or if it has none, of its clusters, that no candidate
  before it holds. One that finds no place is refused, one of particle id 0 is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from daskhpo.exceptions import DataError
from daskhpo.mlpf.formats.edm4hep_layout import (
    CLUSTERS,
    HIT,
    HIT_LINK,
    MOMENTUM,
    PARTICLES,
    STATE,
    TRACK_LINK,
    TRACKS,
    Layout,
)
from daskhpo.mlpf.formats.edm4hep_truth import NOBODY, Generated, links, match
from daskhpo.mlpf.schema import CLIC, ParticleClass, Target

__all__ = ["FIELD", "Calorimeters", "build"]

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Branches = Mapping[str, npt.NDArray[Any]]  # {branch: its values in the event}
Calorimeters = Mapping[str, int]  # {name: number of the collection}

FIELD = 4.0  # tesla: CLIC's, and what the public files were made with
PT_PER_FIELD = 3e-4  # GeV mm / T
AT_FIRST_HIT = 2  # edm4hep::TrackState::AtFirstHit
CLUSTER = 2  # value of the type column
ON_TRACK = (ParticleClass.ELECTRON, ParticleClass.MUON, ParticleClass.CHARGED_HADRON)


def build(
    event: Branches, layout: Layout, calorimeters: Calorimeters, magnetic_field: float
) -> tuple[Float64, Float64, Float64]:
    """Make the rows of one event: its tracks, then its clusters.

    Parameters
    ----------
    event : {branch: values}
        All branches of `layout.branches()` and of the calorimeters' hits.
    layout : Layout
    calorimeters : {name: number}
        Collections of hits, by the number that stands for them in links.
    magnetic_field : float
        In tesla.

    Returns
    -------
    X : (n, 17) float64
    ygen, ycand : (n, 7) float64

    Raises
    ------
    DataError
        If a link or a range points to where nothing is, or a particle's charge cannot be.
    """
    hits = np.concatenate(
        [np.stack([event[f"{name}.{column}"] for column in HIT], axis=1) for name in calorimeters]
    )
    owner, position = _ranges(event, CLUSTERS, "hits", f"{layout.hits}.index")
    member = _hit_numbers(event, layout.hits, calorimeters)[position]
    tracks = _tracks(event, layout, magnetic_field)
    clusters = _clusters(event, hits[member], _detectors(event, calorimeters)[member], owner)

    generated = _generated(event, layout)
    seen = _track_share(event, layout, len(generated.pdg), len(tracks))
    energy = _hit_energy(event, layout, calorimeters, len(generated.pdg), len(hits))
    in_cluster = links(member, owner, np.ones(len(member)), (len(hits), len(clusters)))
    found = match(generated, seen, energy @ in_cluster)
    ids, charge = event[f"{PARTICLES}.PDG"], event[f"{PARTICLES}.charge"]
    targets = _particles(ids, charge, found.p4, found.of_track, found.of_cluster)
    return np.concatenate([tracks, clusters]), targets, _candidates(event, layout, tracks, clusters)


def _tracks(event: Branches, layout: Layout, magnetic_field: float) -> Float64:
    owner, state = _ranges(event, TRACKS, "trackStates", f"{layout.states}.omega")
    stateless = np.bincount(owner, minlength=len(event[f"{TRACKS}.chi2"])) == 0
    if stateless.any():
        raise DataError(f"{TRACKS}: track {int(np.argmax(stateless))} has no track state")
    first = event[f"{TRACKS}.trackStates_begin"]
    column = {name: event[f"{layout.states}.{name}"][first] for name in STATE}
    omega, phi, tan_lambda = column["omega"], column["phi"], column["tanLambda"]
    bend = np.abs(np.where(omega == 0, np.inf, omega))
    pt = PT_PER_FIELD * abs(magnetic_field) / bend
    radius = event[layout.radius] if layout.radius else _radius(event, layout, owner, state)
    columns = (
        *(np.full(len(pt), CLIC.track_type), pt, np.arcsinh(tan_lambda), np.sin(phi), np.cos(phi)),
        *(pt * np.hypot(1, tan_lambda), event[f"{TRACKS}.chi2"], event[f"{TRACKS}.ndf"]),
        *(event[name] for name in layout.dedx),
        *(radius, tan_lambda, column["D0"], omega, column["Z0"], column["time"]),
        np.zeros(len(pt)),  # clusters have a column more
    )
    if len({len(values) for values in columns}) > 1:
        raise DataError(f"{layout.dedx[0]} has not one row for each of the {len(pt)} tracks")
    return np.stack(columns, axis=1)


def _radius(event: Branches, layout: Layout, owner: Int64, state: Int64) -> Float64:
    """Return the radius of each track's innermost hit: of its state there, else of its first."""
    location = event[f"{layout.states}.location"][state]
    order = np.lexsort((location != AT_FIRST_HIT, owner))
    chosen = state[order][np.unique(owner[order], return_index=True)[1]]
    x, y = (event[f"{layout.states}.referencePoint.{axis}"][chosen] for axis in "xy")
    radius: Float64 = np.hypot(x, y)
    return radius


def _clusters(event: Branches, hits: Float64, detector: Int64, owner: Int64) -> Float64:
    """Make the rows of the clusters from their hits (columns `HIT`), of which `owner` has each."""
    theta, phi, energy = (event[f"{CLUSTERS}.{name}"] for name in ("iTheta", "phi", "energy"))
    n = len(energy)
    deposited = [
        np.bincount(owner, hits[:, 0] * (detector == number), minlength=n) for number in range(3)
    ]
    total = np.sum(deposited, axis=0)
    share = hits[:, 0] / np.where(total > 0, total, np.inf)[owner]
    spread = []
    for axis in (1, 2, 3):
        mean = np.bincount(owner, share * hits[:, axis], minlength=n)
        off = hits[:, axis] - mean[owner]
        spread.append(np.sqrt(np.bincount(owner, share * off**2, minlength=n)))
    tangent = np.tan(theta / 2)
    columns = (
        *(np.full(n, CLUSTER), energy * np.abs(np.sin(theta))),
        -np.log(np.where(tangent > 0, tangent, 1)),  # 0 along the beam, where eta has no value
        *(np.sin(phi), np.cos(phi), energy),
        *(event[f"{CLUSTERS}.position.{axis}"] for axis in "xyz"),
        *(theta, *deposited, np.bincount(owner, minlength=n), *spread),
    )
    return np.stack(columns, axis=1)


def _detectors(event: Branches, calorimeters: Calorimeters) -> Int64:
    """Say of each hit whether it is in the ECAL (0), the HCAL (1) or elsewhere (2)."""
    numbers = np.array([{"ECAL": 0, "HCAL": 1}.get(name[:4], 2) for name in calorimeters])
    return np.repeat(numbers, [len(event[f"{name}.{HIT[0]}"]) for name in calorimeters])


def _generated(event: Branches, layout: Layout) -> Generated:
    ids, status = event[f"{PARTICLES}.PDG"], event[f"{PARTICLES}.generatorStatus"]
    relation = f"{layout.daughters}.index"
    mother, position = _ranges(event, PARTICLES, "daughters", relation)
    daughter = _inside(event, relation, f"{PARTICLES}.PDG")[position]
    return Generated(ids, status, _p4(event, PARTICLES), np.stack([mother, daughter], axis=1))


def _track_share(event: Branches, layout: Layout, particles: int, tracks: int) -> csr_array:
    of_track, of_particle = (f"{end}.index" for end in layout.link(TRACK_LINK))
    track = _inside(event, of_track, f"{TRACKS}.chi2")
    particle = _inside(event, of_particle, f"{PARTICLES}.PDG")
    weight = _weights(event, TRACK_LINK, of_track, of_particle)
    return links(particle, track, weight, (particles, tracks))


def _hit_energy(
    event: Branches, layout: Layout, calorimeters: Calorimeters, particles: int, hits: int
) -> csr_array:
    of_hit, of_particle = layout.link(HIT_LINK)
    hit = _hit_numbers(event, of_hit, calorimeters)
    particle = _inside(event, f"{of_particle}.index", f"{PARTICLES}.PDG")
    weight = _weights(event, HIT_LINK, f"{of_hit}.index", f"{of_particle}.index")
    return links(particle, hit, weight, (particles, hits))


def _candidates(event: Branches, layout: Layout, tracks: Float64, clusters: Float64) -> Float64:
    name = layout.candidates
    ids = event[f"{name}.{layout.candidate_id}"]
    holders = [np.full(len(rows), NOBODY, dtype=np.int64) for rows in (tracks, clusters)]
    wanted = []
    for relation, collection, column in (
        ("tracks", layout.candidate_tracks, f"{TRACKS}.chi2"),
        ("clusters", layout.candidate_clusters, f"{CLUSTERS}.energy"),
    ):
        owner, position = _ranges(event, name, relation, f"{collection}.index")
        elements = _inside(event, f"{collection}.index", column)[position]
        wanted.append(np.split(elements, np.searchsorted(owner, np.arange(1, len(ids)))))
    for candidate in np.flatnonzero(ids):
        kind = 0 if len(wanted[0][candidate]) else 1
        elements = wanted[kind][candidate]
        free = elements[holders[kind][elements] == NOBODY]
        if not len(free):
            raise DataError(f"{name}: candidate {candidate} has no track or cluster of its own")
        holders[kind][free[0]] = candidate
    return _particles(ids, event[f"{name}.charge"], _p4(event, name), *holders)


def _particles(
    ids: Int64, charge: Float64, p4: Float64, of_track: Int64, of_cluster: Int64
) -> Float64:
    """Make the rows of `ygen` or `ycand`: zero where an element stands for no particle."""
    who = np.concatenate([of_track, of_cluster])
    rows = np.zeros((len(who), len(Target)))
    some = np.flatnonzero(who != NOBODY)
    who, on_track = who[some], some < len(of_track)
    id_, charge = np.abs(ids[who]), np.where(on_track, charge[who], 0)
    if not np.isin(charge, (-1, 0, 1)).all():
        wrong = int(np.argmin(np.isin(charge, (-1, 0, 1))))
        raise DataError(f"particle {who[wrong]} has charge {charge[wrong]}; allowed are -1, 0, 1")
    px, py, pz, energy = p4[who].T
    pt, phi = np.hypot(px, py), np.arctan2(py, px)
    classes = np.select(
        [on_track & (id_ == 11), on_track & (id_ == 13), on_track, np.isin(id_, (11, 22))],
        [*ON_TRACK, ParticleClass.PHOTON],
        ParticleClass.NEUTRAL_HADRON,
    )
    eta = np.arcsinh(pz / np.where(pt > 0, pt, np.inf))  # 0 along the beam, as for clusters
    rows[some] = np.stack([classes, charge, pt, eta, np.sin(phi), np.cos(phi), energy], axis=1)
    return rows


def _p4(event: Branches, collection: str) -> Float64:
    columns = np.stack([event[f"{collection}.{name}"] for name in MOMENTUM], axis=1)
    with np.errstate(over="ignore"):  # what is too large is refused in the end
        columns[:, 3] = np.sqrt((columns**2).sum(axis=1))  # px, py, pz, mass -> px, py, pz, energy
    return columns


def _weights(event: Branches, link: str, *ends: str) -> Float64:
    weight: Float64 = event[f"{link}.weight"]
    for end in ends:
        if len(event[end]) != len(weight):
            raise DataError(f"{end} has {len(event[end])} rows, {link} has {len(weight)} weights")
    if np.any(weight < 0):
        row = int(np.argmax(weight < 0))
        raise DataError(f"{link}.weight of row {row} is {weight[row]}; it must not be negative")
    return weight


def _ranges(event: Branches, collection: str, relation: str, into: str) -> tuple[Int64, Int64]:
    """Spread the ranges `relation`_begin to _end: (row of `collection`, row of `into`) pairs."""
    name = f"{collection}.{relation}"
    begin, end, size = event[f"{name}_begin"], event[f"{name}_end"], len(event[into])
    wrong = (begin < 0) | (end < begin) | (end > size)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{name}_begin and _end of row {row} are {begin[row]} and {end[row]}; "
            f"{into} has {size} rows"
        )
    counts = end - begin
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(counts.sum()) + np.repeat(begin - (np.cumsum(counts) - counts), counts)


def _inside(event: Branches, branch: str, into: str) -> Int64:
    """Return the row numbers that a branch holds, if all of them exist."""
    rows: Int64 = event[branch]
    wrong = (rows < 0) | (rows >= len(event[into]))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(f"{branch} of row {row} is {rows[row]}; {into} has {len(event[into])} rows")
    return rows


def _hit_numbers(event: Branches, relation: str, calorimeters: Calorimeters) -> Int64:
    """Number the hits that a relation points to, through all calorimeters in their order."""
    collection, index = event[f"{relation}.collectionID"], event[f"{relation}.index"]
    numbers, before = np.full(len(index), NOBODY, dtype=np.int64), 0
    for name, identity in calorimeters.items():
        size = len(event[f"{name}.{HIT[0]}"])
        mine = (collection == identity) & (index >= 0) & (index < size)
        numbers[mine] = before + index[mine]
        before += size
    if np.any(numbers == NOBODY):
        row = int(np.argmax(numbers == NOBODY))
        known = ", ".join(
            f"{name} ({identity}): {len(event[f'{name}.{HIT[0]}'])} hits"
            for name, identity in calorimeters.items()
        )
        raise DataError(
            f"{relation} of row {row} is hit {index[row]} of collection {collection[row]}; "
            f"there are {known}"
        )
    return numbers
