"""Holding one set of events against another: how like its reference a simulation is.

Use it before training on events that were made here, to see how far their distributions are from
those of a full detector simulation. Each quantity is compared by mean, median and the
Kolmogorov-Smirnov distance between the two samples: the largest difference of their cumulative
distributions, from 0 (alike) to 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from daskhpo.mlpf.events import Element, Events, Tower, Track
from daskhpo.mlpf.schema import ParticleClass, Target

__all__ = [
    "Comparison",
    "compare",
    "format_table",
    "grouped_quantities",
    "ks_distance",
    "quantities",
]

Float = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool]

CLASSES = [kind for kind in ParticleClass if kind != ParticleClass.NONE]
CHARGED = (ParticleClass.CHARGED_HADRON, ParticleClass.ELECTRON, ParticleClass.MUON)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One quantity in two sets of events.

    Parameters
    ----------
    quantity : str
        What is compared, as named by `quantities`.
    ours_n, reference_n : int
        Numbers of values.
    ours_mean, reference_mean, ours_median, reference_median : float
        In the quantity's unit; NaN where there is no value.
    ks : float
        Kolmogorov-Smirnov distance; NaN where one side has no value.
    noise : float
        The distance that two samples of these sizes exceed by chance in 1 % of cases, were their
        values independent: 1.63 sqrt(1/n + 1/m). Elements of one event are not quite.
    """

    quantity: str
    ours_n: int
    reference_n: int
    ours_mean: float
    reference_mean: float
    ours_median: float
    reference_median: float
    ks: float
    noise: float

    @property
    def stands_out(self) -> bool:
        """Whether the distance exceeds what chance alone makes of it in 1 % of cases."""
        return self.ks > self.noise


def compare(ours: Events, reference: Events) -> list[Comparison]:
    """Compare all distributions of two sets of events.

    Parameters
    ----------
    ours, reference : Events
        Made of the same process with the same pile-up; any numbers of events.

    Returns
    -------
    list of Comparison
        One for each quantity of `quantities`; `pandas.DataFrame(compare(...))` is a table,
        `format_table` a printed one.

    Examples
    --------
    >>> from daskhpo.mlpf.events import load_sample
    >>> sample = load_sample()
    >>> rows = compare(sample[:50], sample[50:100])
    >>> rows[0].quantity, rows[0].ks < 0.5
    ('elements per event', True)
    """
    theirs = dict(quantities(reference))
    return [_compare(name, values, theirs[name]) for name, values in quantities(ours)]


def format_table(rows: list[Comparison]) -> str:
    """Lay comparisons out as text, one line each; a star marks what stands out.

    Examples
    --------
    >>> row = Comparison("tower ET [GeV]", 90, 90, 1.0, 1.1, 0.9, 1.0, 0.25, 0.243)
    >>> print(format_table([row]))
    quantity                              mean      (ref)    median      (ref)      KS  1% noise
    tower ET [GeV]                           1        1.1       0.9          1   0.250     0.243 *
    """
    lines = [
        f"{'quantity':<34}{'mean':>8}{'(ref)':>11}{'median':>10}{'(ref)':>11}"
        f"{'KS':>8}{'1% noise':>10}"
    ]
    lines += [
        f"{row.quantity:<34}{row.ours_mean:>8.4g}{row.reference_mean:>11.4g}"
        f"{row.ours_median:>10.4g}{row.reference_median:>11.4g}{row.ks:>8.3f}{row.noise:>10.3f}"
        + (" *" if row.stands_out else "")
        for row in rows
    ]
    return "\n".join(lines)


def ks_distance(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Return the two-sample Kolmogorov-Smirnov distance, NaN where a sample is empty.

    Parameters
    ----------
    a, b : (n,) and (m,) array
        The samples.

    Examples
    --------
    >>> ks_distance([1, 2, 3, 4], [3, 4, 5, 6])
    0.5
    """
    first, second = np.sort(np.asarray(a, np.float64)), np.sort(np.asarray(b, np.float64))
    if not len(first) or not len(second):
        return float("nan")
    at = np.concatenate([first, second])
    below_first = np.searchsorted(first, at, side="right") / len(first)
    below_second = np.searchsorted(second, at, side="right") / len(second)
    return float(np.abs(below_first - below_second).max())


def quantities(events: Events) -> Iterator[tuple[str, Float]]:
    """Yield the names and values of everything that `compare` looks at.

    Parameters
    ----------
    events : Events
        Any events.

    Yields
    ------
    name : str
        Ending in the unit where there is one.
    values : (n,) float64
        One value per event (numbers and shares), or per element.
    """
    for group in grouped_quantities(events).values():
        yield from group.items()


def grouped_quantities(events: Events) -> dict[str, dict[str, Float]]:
    """Return the names and values of `quantities` by what they are about.

    Parameters
    ----------
    events : Events
        Any events.

    Returns
    -------
    dict of dict
        Under "numbers" (per event), "elements", "targets" and "responses".
    """
    view = _View.of(events)
    responses = dict(_track_responses(view))
    for name, mask in (("ECAL", view.ecal), ("HCAL", view.hcal)):
        responses |= _tower_responses(name, view.x[mask], view.ygen[mask], view.ycand[mask])
    return {
        "numbers": dict(_numbers(view)),
        "elements": dict(_element_spectra(view)),
        "targets": {
            name: values for kind in CLASSES for name, values in _target_spectra(kind, view.ygen)
        },
        "responses": responses,
    }


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """Events in double precision, with masks of the kinds of elements."""

    events: Events
    x: Float
    ygen: Float
    ycand: Float
    track: Mask
    ecal: Mask
    hcal: Mask

    @classmethod
    def of(cls, events: Events) -> _View:
        x, ygen, ycand = (a.astype(np.float64) for a in (events.X, events.ygen, events.ycand))
        tower = x[:, Tower.TYPE] == Element.TOWER
        ecal, hcal = x[:, Tower.ENERGY_ECAL] > 0, x[:, Tower.ENERGY_HCAL] > 0
        return cls(events, x, ygen, ycand, ~tower, tower & ecal, tower & hcal)

    def per_event(self, mask: Mask) -> Float:
        """Count rows in each event: (events,)."""
        count = np.bincount(self.events.event_of_row, mask, minlength=len(self.events))
        return count.astype(np.float64)

    def share(self, mask: Mask) -> Float:
        """Return the share of rows in each event that has any."""
        filled = self.events.counts > 0
        share: Float = self.per_event(mask)[filled] / self.events.counts[filled]
        return share


def _numbers(view: _View) -> Iterator[tuple[str, Float]]:
    yield "elements per event", view.events.counts.astype(np.float64)
    yield "tracks per event", view.per_event(view.track)
    yield "ECAL towers per event", view.per_event(view.ecal)
    yield "HCAL towers per event", view.per_event(view.hcal)
    yield "share of tracks", view.share(view.track)
    for source, rows in (("target", view.ygen), ("candidate", view.ycand)):
        for kind in ParticleClass:
            yield f"{source} share {_name(kind)}", view.share(rows[:, Target.CLASS] == kind)


def _element_spectra(view: _View) -> Iterator[tuple[str, Float]]:
    tracks = view.x[view.track]
    yield "track pT [GeV]", tracks[:, Track.PT]
    yield "track eta", tracks[:, Track.ETA]
    yield "track eta outer", tracks[:, Track.ETA_OUTER]
    yield "track turn [rad]", _turn(tracks)
    yield "track charge", tracks[:, Track.CHARGE]
    for name, mask in (("ECAL", view.ecal), ("HCAL", view.hcal)):
        yield f"{name} tower ET [GeV]", view.x[mask, Tower.ET]
        yield f"{name} tower energy [GeV]", view.x[mask, Tower.ENERGY]
        yield f"{name} tower eta", view.x[mask, Tower.ETA]


def _target_spectra(kind: ParticleClass, ygen: Float) -> Iterator[tuple[str, Float]]:
    targets = ygen[ygen[:, Target.CLASS] == kind]
    yield f"target pT {_name(kind)} [GeV]", targets[:, Target.PT]
    yield f"target energy {_name(kind)} [GeV]", targets[:, Target.ENERGY]
    yield f"target eta {_name(kind)}", targets[:, Target.ETA]
    yield f"target charge {_name(kind)}", targets[:, Target.CHARGE]


def _track_responses(view: _View) -> Iterator[tuple[str, Float]]:
    x, ygen, ycand = (rows[view.track] for rows in (view.x, view.ygen, view.ycand))
    yield "track pT / target pT", x[:, Track.PT] / ygen[:, Target.PT]
    yield "track eta - target eta", x[:, Track.ETA] - ygen[:, Target.ETA]
    for kind in CHARGED:
        mask = ygen[:, Target.CLASS] == kind
        candidate = ycand[mask, Target.PT]
        yield f"candidate / target pT {_name(kind)}", candidate / ygen[mask, Target.PT]
        yield f"candidate / track pT {_name(kind)}", candidate / x[mask, Track.PT]


def _tower_responses(name: str, x: Float, ygen: Float, ycand: Float) -> Iterator[tuple[str, Float]]:
    seen = ygen[:, Target.CLASS] > 0
    both = seen & (ycand[:, Target.CLASS] > 0)
    yield f"{name} tower / target energy", x[seen, Tower.ENERGY] / ygen[seen, Target.ENERGY]
    yield (
        f"{name} candidate / target energy",
        ycand[both, Target.ENERGY] / ygen[both, Target.ENERGY],
    )
    yield f"{name} tower eta - target eta", x[seen, Tower.ETA] - ygen[seen, Target.ETA]


def _compare(name: str, ours: Float, reference: Float) -> Comparison:
    n, m = len(ours), len(reference)
    return Comparison(
        name,
        n,
        m,
        float(ours.mean()) if n else float("nan"),
        float(reference.mean()) if m else float("nan"),
        float(np.median(ours)) if n else float("nan"),
        float(np.median(reference)) if m else float("nan"),
        ks_distance(ours, reference),
        1.63 * float(np.sqrt(1 / n + 1 / m)) if n and m else float("nan"),
    )


def _turn(tracks: Float) -> Float:
    """Azimuth by which the field bends tracks on their way out, in [-pi, pi]."""
    start = np.arctan2(tracks[:, Track.SIN_PHI], tracks[:, Track.COS_PHI])
    end = np.arctan2(tracks[:, Track.SIN_PHI_OUTER], tracks[:, Track.COS_PHI_OUTER])
    turn: Float = (end - start + np.pi) % (2 * np.pi) - np.pi
    return turn


def _name(kind: ParticleClass) -> str:
    return kind.name.lower().replace("_", " ")
