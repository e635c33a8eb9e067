"""The branches of EDM4HEP files, which have changed names with the versions of podio and EDM4HEP.

Collections are named alike in all of them: generated particles, refitted tracks, clusters,
calorimeter hits and the two kinds of links to the truth. Relations between collections are not.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from daskhpo.exceptions import DataError

__all__ = ["CALORIMETERS", "LAYOUTS", "Layout", "layout_of"]

TRACKS, CLUSTERS, PARTICLES = "SiTracks_Refitted", "PandoraClusters", "MCParticles"
TRACK_LINK, HIT_LINK = "SiTracksMCTruthLink", "CalohitMCTruthLink"
CALORIMETERS = (
    *("ECALBarrel", "ECALEndcap", "ECALOther"),
    *("HCALBarrel", "HCALEndcap", "HCALOther", "MUON"),
)
HIT = ("energy", "position.x", "position.y", "position.z")
STATE = ("tanLambda", "D0", "phi", "omega", "Z0", "time")
STATE_AT_HIT = ("location", "referencePoint.x", "referencePoint.y")
MOMENTUM = ("momentum.x", "momentum.y", "momentum.z", "mass")


@dataclass(frozen=True, slots=True)
class Layout:
    """The names that differ between files.

    Parameters
    ----------
    name : str
        As in messages.
    table : (str, str)
        Tree and branch that say which number stands for which collection.
    states, daughters, hits : str
        Collections of track states, of daughters of particles and of hits of clusters.
    ends : (str, str)
        How the two ends of a link are named: element, particle.
    candidates, candidate_id : str
        Collection of the candidates, and its column of particle ids.
    candidate_tracks, candidate_clusters : str
        Collections of the elements of candidates.
    dedx : (str, str)
        Branches of dE/dx and its error.
    radius : str, optional
        Branch of the radius of the innermost hit; without it, that of the state there is taken.
    """

    name: str
    table: tuple[str, str]
    states: str
    daughters: str
    hits: str
    ends: tuple[str, str]
    candidates: str
    candidate_id: str
    candidate_tracks: str
    candidate_clusters: str
    dedx: tuple[str, str] = (f"{TRACKS}.dEdx", f"{TRACKS}.dEdxError")
    radius: str | None = f"{TRACKS}.radiusOfInnermostHit"

    def link(self, name: str) -> tuple[str, str]:
        """Name the collections of the two ends of a link: element, particle.

        Examples
        --------
        >>> LAYOUTS[0].link("SiTracksMCTruthLink")
        ('SiTracksMCTruthLink#0', 'SiTracksMCTruthLink#1')
        """
        element, particle = (end.format(name) for end in self.ends)
        return element, particle

    def branches(self) -> list[str]:
        """Name all branches that are read, but for those of the calorimeters."""
        track, of_track = self.link(TRACK_LINK)
        hit, of_hit = self.link(HIT_LINK)
        columns = (
            (PARTICLES, ("PDG", "generatorStatus", *MOMENTUM, "charge")),
            (PARTICLES, ("daughters_begin", "daughters_end")),
            (self.daughters, ("index",)),
            (TRACKS, ("chi2", "ndf", "trackStates_begin", "trackStates_end")),
            (self.states, STATE if self.radius else (*STATE, *STATE_AT_HIT)),
            (CLUSTERS, (*HIT, "iTheta", "phi", "hits_begin", "hits_end")),
            (self.hits, ("index", "collectionID")),
            (TRACK_LINK, ("weight",)),
            (track, ("index",)),
            (of_track, ("index",)),
            (HIT_LINK, ("weight",)),
            (hit, ("index", "collectionID")),
            (of_hit, ("index",)),
            (self.candidates, (self.candidate_id, *MOMENTUM, "charge")),
            (self.candidates, ("tracks_begin", "tracks_end", "clusters_begin", "clusters_end")),
            (self.candidate_tracks, ("index",)),
            (self.candidate_clusters, ("index",)),
        )
        named = [f"{collection}.{name}" for collection, names in columns for name in names]
        return [*named, *self.dedx, *((self.radius,) if self.radius else ())]


LAYOUTS = (
    Layout(
        name="relations #0 and #1",
        table=("metadata", "CollectionIDs"),
        states="SiTracks_1",
        daughters=f"{PARTICLES}#1",
        hits=f"{CLUSTERS}#1",
        ends=("{}#0", "{}#1"),
        candidates="MergedRecoParticles",
        candidate_id="type",
        candidate_tracks="MergedRecoParticles#1",
        candidate_clusters="MergedRecoParticles#0",
    ),
    Layout(
        name="links _rec and _sim",
        table=("podio_metadata", "events___idTable"),
        states="_SiTracks_trackStates",
        daughters=f"_{PARTICLES}_daughters",
        hits=f"_{CLUSTERS}_hits",
        ends=("_{}_rec", "_{}_sim"),
        candidates="PandoraPFOs",
        candidate_id="PDG",
        candidate_tracks="_PandoraPFOs_tracks",
        candidate_clusters="_PandoraPFOs_clusters",
    ),
    Layout(
        name="links _from and _to",
        table=("podio_metadata", "events___idTable"),
        states=f"_{TRACKS}_trackStates",
        daughters=f"_{PARTICLES}_daughters",
        hits=f"_{CLUSTERS}_hits",
        ends=("_{}_from", "_{}_to"),
        candidates="PandoraPFOs",
        candidate_id="PDG",
        candidate_tracks="_PandoraPFOs_tracks",
        candidate_clusters="_PandoraPFOs_clusters",
        dedx=(f"{TRACKS}_dQdx.dQdx.value", f"{TRACKS}_dQdx.dQdx.error"),
        radius=None,
    ),
)


def layout_of(names: Collection[str]) -> tuple[Layout, list[str]]:
    """Find the layout of a file and the calorimeters that it has.

    Parameters
    ----------
    names : collection of str
        The branches of its tree `events`.

    Returns
    -------
    layout : Layout
    calorimeters : list of str
        Those of `CALORIMETERS` that are there.

    Raises
    ------
    DataError
        If a branch is missing in all layouts: names that of the layout which fits best.

    Examples
    --------
    >>> names = [*LAYOUTS[1].branches(), *(f"MUON.{name}" for name in HIT)]
    >>> layout, calorimeters = layout_of(names)
    >>> layout.name, calorimeters
    ('links _rec and _sim', ['MUON'])
    """
    missing = {
        layout: [name for name in layout.branches() if name not in names] for layout in LAYOUTS
    }
    layout = min(LAYOUTS, key=lambda layout: len(missing[layout]))
    if missing[layout]:
        raise DataError(
            f"the tree 'events' has no branch {missing[layout][0]!r}, which belongs to the layout "
            f"with {layout.name}; {len(missing[layout])} of its branches are missing"
        )
    calorimeters = [name for name in CALORIMETERS if f"{name}.{HIT[0]}" in names]
    if not calorimeters:
        raise DataError(
            f"the tree 'events' has no calorimeter hits; known are {', '.join(CALORIMETERS)}"
        )
    for branch in (f"{calorimeter}.{name}" for calorimeter in calorimeters for name in HIT):
        if branch not in names:
            raise DataError(f"the tree 'events' has no branch {branch!r}")
    return layout, calorimeters
