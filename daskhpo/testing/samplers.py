"""What every sampler must do, in every kind of space."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from daskhpo.samplers.base import Learner, Sampler
from daskhpo.space import Choice, Constant, Float, Int, Space

__all__ = ["SPACES", "SamplerSuite"]

SPACES: dict[str, Space] = {
    "one point": Space({"data": Constant("sample")}),
    "one choice": Space(opt=Choice(["adam"]), lr=Float(0.1, 0.1)),
    "choices only": Space(opt=Choice(["adam", "sgd", "lamb"]), norm=Choice([True, False, None])),
    "mixed": Space(
        lr=Float(1e-5, 1e-1, log=True),
        width=Int(16, 1024, log=True),
        layers=Int(1, 9, step=2),
        dropout=Float(0.0, 0.5, step=0.05),
        opt=Choice(["adam", "sgd"]),
        momentum=Float(0.0, 1.0, when={"opt": "sgd"}),
        seed=Constant(None),
    ),
    "forbidden": Space(
        opt=Choice(["adam", "sgd", "lamb"]),
        lr=Float(1e-5, 1e-1, log=True),
        batch=Int(16, 64, step=16),
        momentum=Float(0.0, 1.0, when={"opt": "sgd"}),
    ).forbid(
        {"opt": "sgd", "lr": {"low": 1e-3}},
        {"batch": [48, 64], "lr": {"high": 1e-4}},
        {"momentum": {"low": 0.5}, "batch": 16},
    ),
    "hardly anything": Space(x=Float(0.0, 1.0), n=Int(1, 1000)).forbid(
        {"x": {"low": 1e-3}}, {"n": {"low": 3}}
    ),
}


class SamplerSuite:
    """What every sampler must do.

    Examples
    --------
    In a test module of your own:

    >>> from daskhpo.samplers import Random
    >>> class TestRandom(SamplerSuite):
    ...     def make(self, space, seed):
    ...         return Random(space, seed=seed)
    >>> TestRandom().test_proposes_valid_points()
    """

    trials = 24

    def make(self, space: Space, seed: int) -> Sampler:
        """Return the sampler under test."""
        raise NotImplementedError(f"{type(self).__name__} must say how to make a sampler")

    def test_is_a_sampler(self) -> None:
        """It has the methods of the protocol, and says whether it is slow."""
        sampler = self.make(SPACES["mixed"], 0)
        assert isinstance(sampler, Sampler)
        assert isinstance(sampler.slow, bool)

    def test_proposes_valid_points(self) -> None:
        """Every proposal is in every kind of space, and none is forbidden."""
        for space in SPACES.values():
            for params in self.drive(self.make(space, 0)):
                space.validate(params)

    def test_proposes_native_values(self) -> None:
        """Every proposal goes through JSON unchanged: no numpy scalars."""
        for space in SPACES.values():
            for params in self.drive(self.make(space, 0)):
                assert json.loads(json.dumps(params)) == params
                assert {type(value).__module__ for value in params.values()} <= {"builtins"}

    def test_depends_on_seed_and_number_alone(self) -> None:
        """Asking a fresh sampler for trial 5 at once gives trial 5."""
        space = SPACES["mixed"]
        in_order = self.make(space, 3)
        proposals = [in_order.suggest(number) for number in range(6)]
        assert self.make(space, 3).suggest(5) == proposals[5]

    def test_same_seed_and_results_give_the_same_proposals(self) -> None:
        """Two samplers with the same history agree."""
        space = SPACES["mixed"]
        assert self.drive(self.make(space, 7)) == self.drive(self.make(space, 7))

    def test_goes_on_after_a_replay(self) -> None:
        """Pending and results of an earlier process are enough to go on."""
        space = SPACES["mixed"]
        before = self.drive(self.make(space, 1))
        sampler = self.make(space, 1)
        for number, params in enumerate(before):
            sampler.pend(number, params)
            sampler.tell(number, 1, float(number))
        proposal = sampler.suggest(len(before))
        assert proposal is None or space.contains(proposal)

    def test_survives_failed_trials(self) -> None:
        """Infinite values, some or all, do not stop it."""
        for failed in (lambda number: True, lambda number: number % 3 == 0):
            space = SPACES["mixed"]
            for proposal in self.drive(self.make(space, 0), failed=failed):
                space.validate(proposal)

    def test_takes_several_results_of_a_trial(self) -> None:
        """A later value replaces an earlier one."""
        space = SPACES["mixed"]
        sampler = self.make(space, 0)
        for number in range(self.trials):
            if (params := sampler.suggest(number)) is None:
                return
            space.validate(params)
            sampler.pend(number, params)
            for step in (1, 3, 9):
                sampler.tell(number, step, 1.0 / (number + step))

    def test_goes_on_without_results(self) -> None:
        """Many trials may be pending before the first result comes."""
        space = SPACES["mixed"]
        sampler = self.make(space, 0)
        for number in range(self.trials):
            if (params := sampler.suggest(number)) is None:
                return
            space.validate(params)
            sampler.pend(number, params)

    def test_takes_several_metrics(self) -> None:
        """Where metrics are traded off, values are tuples, and inf for a failed trial."""
        space = SPACES["mixed"]
        sampler = self.make(space, 0)
        for number in range(self.trials):
            if (params := sampler.suggest(number)) is None:
                return
            space.validate(params)
            sampler.pend(number, params)
            size = sum(map(len, map(str, params.values())))
            for step in (1, 3):
                sampler.tell(number, step, (1.0 / step + size, 1e9 * size, -float(number)))
            if number % 5 == 0:
                sampler.tell(number, 3, math.inf)

    def test_learns_from_earlier_campaigns(self) -> None:
        """It goes on with what they found, and tries it again only when nothing else is left."""
        for space in SPACES.values():
            sampler = self.make(space, 0)
            if not isinstance(sampler, Learner):
                return
            rng = np.random.default_rng(1)
            known = [space.sample(rng) for _ in range(6)]
            for index, params in enumerate(known):
                sampler.learn(params, 1 + index % 3, float(index))
            proposed = self.drive(sampler)
            for params in proposed:
                space.validate(params)
            if math.isfinite(space.size):
                left = int(space.size) - len({json.dumps(params) for params in known})
                assert not any(params in known for params in proposed[:left])

    def test_does_not_hang_in_a_space_that_is_used_up(self) -> None:
        """More trials than configurations: it repeats some, or says that it has no more."""
        for name in ("one point", "one choice", "choices only"):
            sampler = self.make(SPACES[name], 0)
            assert len(self.drive(sampler)) <= self.trials

    def drive(
        self, sampler: Sampler, *, failed: Any = lambda number: False
    ) -> list[dict[str, Any]]:
        """Run trials one after another; return what was proposed until there was no more."""
        proposed = []
        for number in range(self.trials):
            params = sampler.suggest(number)
            if params is None:
                break
            proposed.append(dict(params))
            sampler.pend(number, params)
            value = sum(map(len, map(str, params.values()))) + 0.01 * number
            sampler.tell(number, 1, math.inf if failed(number) else value)
        return proposed
