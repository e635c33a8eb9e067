"""What a sampler that learns has written down: suggestions, results, earlier campaigns."""

from __future__ import annotations

import math
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from daskhpo.samplers.features import Array, Features
from daskhpo.samplers.scores import comparable
from daskhpo.samplers.seeding import generator
from daskhpo.space import Space
from daskhpo.trial import Params, Value

__all__ = ["Notebook", "Results"]

GAINS = 256  # latest changes kept for each pair of steps


@dataclass(frozen=True, slots=True)
class Results:
    """What is known at one moment: a copy, so that a fit needs no lock.

    ``units`` (n, d), ``steps`` (n,) and ``values`` (n, m; inf where failed) for m metrics of the
    trials with results, those of earlier campaigns first; ``pending`` (p, d) of those without;
    ``gains`` are changes between steps, see :func:`~daskhpo.samplers.scores.prolonged`.
    """

    units: Array
    steps: Array
    values: Array
    pending: Array
    gains: dict[tuple[int, int], list[Array]]

    @property
    def fine(self) -> npt.NDArray[np.bool_]:
        """Which trials did not fail, of shape (n,)."""
        return np.asarray(np.isfinite(self.values).all(axis=1))

    @property
    def several(self) -> bool:
        """Whether metrics are traded off, so that every look at the results weighs them anew."""
        return bool(self.values.shape[1] > 1)

    def scores(self, rng: np.random.Generator) -> Array:
        """One number for each trial, of shape (n,), as if all had gone on to the largest step.

        Mean 0 and standard deviation 1 among those that did not fail; a failed trial is as bad
        as the worst.
        """
        return comparable(self.values, self.steps, self.gains, rng)


class Notebook:
    """Takes notes while others compute: every method is quick, and safe to call at any time.

    Parameters
    ----------
    space : Space
        What is searched, in d dimensions.
    seed : int
        Seed of the sampler.

    Attributes
    ----------
    features : Features
        Of the space.
    taken : Counter
        ``{key of a configuration: trials that have it}``, those of earlier campaigns included.
        Only to be asked whether it contains a key.
    changes : int
        Results, and configurations that did not come from :meth:`once`, since the last look at
        :meth:`results` or :meth:`reached`.
    learned : int
        Results of earlier campaigns.

    Examples
    --------
    >>> from daskhpo.space import Float
    >>> notes = Notebook(Space(x=Float(0.0, 1.0)), 0)
    >>> notes.pend(0, {"x": 0.5})
    >>> notes.pend(1, {"x": 0.25})
    >>> notes.tell(0, 1, 3.0)
    >>> notes.results().values.tolist(), notes.results().pending.tolist()
    ([[3.0]], [[0.25]])
    """

    def __init__(self, space: Space, seed: int) -> None:
        self.features = Features(space)
        self.taken: Counter[bytes] = Counter()
        self.changes = 0
        self.learned = 0
        self._space, self._seed, self._size = space, seed, space.size
        self._turn = threading.Lock()  # one suggestion at a time
        self._lock = threading.Lock()  # guards all that follows, never held while computing
        self._given: dict[int, Params] = {}  # {number: params}
        # Trials of earlier campaigns have the numbers -1, -2, ... in the following.
        self._units: dict[int, Array] = {}  # {number: (d,)}
        self._last: dict[int, int] = {}  # {number: step of the last result}
        self._seen: dict[int, dict[int, Value]] = defaultdict(dict)  # {step: {number: value}}
        self._gains: dict[tuple[int, int], deque[Array]] = defaultdict(lambda: deque(maxlen=GAINS))

    # ------------------------------------------------------------------ what a sampler is told

    def pend(self, number: int, params: Params) -> None:
        """Note what was handed out as trial ``number``."""
        with self._lock:
            if number not in self._given or dict(self._given[number]) != dict(params):
                self._write(number, params)
                self.changes += 1

    def tell(self, number: int, step: int, value: Value) -> None:
        """Note a result; what is not finite counts as failed."""
        metrics = np.atleast_1d(np.array(value, float))
        fine = bool(np.isfinite(metrics).all())
        with self._lock:
            before = self._last.get(number, step)
            if before < step and fine:
                with np.errstate(over="ignore"):
                    gain = metrics - np.array(self._seen[before][number])
                if np.isfinite(gain).all():
                    self._gains[before, step].append(gain)
            self._seen[step][number] = value if fine else math.inf
            self._last[number] = step
            self.changes += 1

    def learn(self, params: Params, step: int, value: Value) -> None:
        """Note a result of an earlier campaign: never pending, and not to be tried again."""
        with self._lock:
            self.learned += 1
            number = -self.learned
            self._units[number] = unit = self._space.encode(params)
            self.taken.update(self.features.keys(unit[None]))
        self.tell(number, step, value)

    def once(self, number: int, choose: Callable[[int, np.random.Generator], Array]) -> Params:
        """Return the suggestion of trial ``number``: chosen when first asked for, then the same.

        In a finite space that is used up, by trials and earlier campaigns, it is drawn at random.

        Parameters
        ----------
        number : int
            The trial.
        choose : callable
            Takes the number and its generator, returns a point of the unit cube, of shape (d,).
        """
        with self._turn:
            with self._lock:
                if number in self._given:
                    return dict(self._given[number])
                used_up = not self._space.dimension or len(self.taken) >= self._size
            rng = generator(self._seed, number)
            if used_up:
                params = self._space.sample(rng)
            else:
                params = self._space.decode(choose(number, rng))
                if not self._space.contains(params):  # rounding, at the bound of what is forbidden
                    params = self._space.sample(rng)
            with self._lock:
                self._write(number, params)
            return dict(params)

    def _write(self, number: int, params: Params) -> None:
        unit = self._space.encode(params)
        if number in self._units:  # somebody else's configuration took this number
            self.taken.subtract(self.features.keys(self._units[number][None]))
            self.taken += Counter()  # drops what nobody has any more
        self._given[number] = self._space.validate(params)
        self._units[number] = unit
        self.taken.update(self.features.keys(unit[None]))

    # ------------------------------------------------------------------ what a sampler asks

    @property
    def many(self) -> int:
        """How many trials have results, failed ones included."""
        return len(self._last)

    @property
    def partial(self) -> bool:
        """Whether there are results of several steps: some trials are judged by a beginning."""
        return len(self._seen) > 1

    def results(self) -> Results:
        """Copy what is known: the last result of each trial."""
        with self._lock:
            self.changes = 0
            known = sorted(self._last.keys() & self._units.keys())
            waiting = sorted(self._units.keys() - self._last.keys())
            values = [self._seen[self._last[number]][number] for number in known]
            return Results(
                units=self._points(known),
                steps=np.array([self._last[number] for number in known], float),
                values=_table(values),
                pending=self._points(waiting),
                gains={pair: list(changes) for pair, changes in self._gains.items()},
            )

    def reached(self, least: int) -> Results | None:
        """Copy the results at the largest step where at least so many trials were seen well.

        Failed trials are added, whatever step they reached. None while there is no such step.
        """
        with self._lock:
            self.changes = 0
            failed = {
                number
                for number, step in self._last.items()
                if number in self._units and _failed(self._seen[step][number])
            }
            for step in sorted(self._seen, reverse=True):
                fine = (self._seen[step].keys() & self._units.keys()) - failed
                if len(fine) >= least:
                    break
            else:
                return None
            known = sorted(fine | failed)
            values = [math.inf if n in failed else self._seen[step][n] for n in known]
            steps, nobody = np.full(len(known), float(step)), self._points([])
            return Results(self._points(known), steps, _table(values), nobody, {})

    def _points(self, numbers: Sequence[int]) -> Array:
        points = np.array([self._units[number] for number in numbers], float)
        return points.reshape(len(numbers), self._space.dimension)


def _failed(value: Value) -> bool:
    return not isinstance(value, tuple) and math.isinf(value)


def _table(values: Sequence[Value]) -> Array:
    """Values in rows of as many metrics as there are; all inf where failed."""
    width = max((len(value) for value in values if isinstance(value, tuple)), default=1)
    rows = [value if isinstance(value, tuple) else (value,) * width for value in values]
    return np.array(rows, float).reshape(len(rows), width)
