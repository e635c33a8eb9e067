"""A jet's match is the nearest of its own event, within the cone."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from daskhpo.mlpf.physics.jets import Jets
from daskhpo.mlpf.physics.matching import nearest


def jets(*events):
    """Events as lists of (eta, phi)."""
    flat = [place for event in events for place in event]
    momenta = [[10 * np.cos(p), 10 * np.sin(p), 10 * np.sinh(e), 10 * np.cosh(e)] for e, p in flat]
    return Jets(np.array(momenta).reshape(-1, 4), np.array([len(event) for event in events]))


def test_the_nearest_is_taken_not_the_first():
    assert nearest(jets([(0, 0)]), jets([(0.08, 0), (0.01, 0.01)])).tolist() == [1]


def test_beyond_the_cone_there_is_no_match():
    reference = jets([(0, 0)])
    assert nearest(reference, jets([(0.08, 0.07)])).tolist() == [-1]  # 0.106
    assert nearest(reference, jets([(0.08, 0.05)])).tolist() == [0]  # 0.094
    assert nearest(reference, jets([(0.08, 0.07)]), max_delta_r=0.2).tolist() == [0]


def test_azimuth_goes_round_for_matches():
    assert nearest(jets([(0, 3.12)]), jets([(0, -3.12)])).tolist() == [0]


def test_two_reference_jets_may_have_the_same_match():
    assert nearest(jets([(0, 0), (0, 0.1)]), jets([(0, 0.05)])).tolist() == [0, 0]


def test_jets_of_other_events_are_no_matches():
    reference, other = jets([(0, 0)], [], [(1, 1), (2, 2)]), jets([], [(0, 0)], [(2, 2)])
    assert nearest(reference, other).tolist() == [-1, -1, 1]


def test_no_jets_are_no_matches():
    assert nearest(jets([], []), jets([(0, 0)], [])).shape == (0,)
    assert nearest(jets([(0, 0)], []), jets([], [])).tolist() == [-1]


places = st.lists(st.tuples(st.floats(-0.2, 0.2), st.floats(-0.2, 0.2)), max_size=5)


@settings(max_examples=50, deadline=None)
@given(events=st.lists(st.tuples(places, places), min_size=1, max_size=4))
def test_matches_are_those_of_a_plain_loop(events):
    reference, other = jets(*[a for a, _ in events]), jets(*[b for _, b in events])
    found, first = iter(nearest(reference, other)), 0
    for a, b in events:
        for place in a:
            apart = [np.hypot(place[0] - q[0], place[1] - q[1]) for q in b]
            match = int(next(found))
            if match == -1:
                assert not apart or min(apart) > 0.1 - 1e-9
            else:
                assert apart[match - first] < min(apart) + 1e-9
                assert apart[match - first] < 0.1 + 1e-9
        first += len(b)
