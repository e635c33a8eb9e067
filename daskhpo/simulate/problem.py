"""A problem: configurations whose learning curves are known to the end."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from daskhpo.exceptions import DataError
from daskhpo.simulate.inference import infer_space
from daskhpo.space import Space
from daskhpo.trial import Direction, Params, ParamValue, TrialState

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Array", "Problem"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Stored configurations with whole learning curves: what campaigns are simulated on.

    Use :meth:`open` for a curve store (``daskhpo curves import``) or a finished campaign, and the
    constructor for arrays of your own.

    Parameters
    ----------
    name : str
        For people.
    metric : str
        What the curves show.
    params : sequence of n mappings
        The configurations; a parameter that is inactive is absent.
    curves : array of shape (n, R)
        The metric as it was reported, at steps 1 to R; finite.
    direction : Direction or str
        ``"min"`` or ``"max"``.
    unit : str
        What a step is.

    Raises
    ------
    DataError
        If there is no curve, a curve is not whole, or the shapes do not agree.

    Examples
    --------
    >>> problem = Problem("two", "acc", [{"x": 1}, {"x": 2}], [[.1, .5], [.2, .4]], direction="max")
    >>> problem.max_step, problem.finals.tolist()
    (2, [-0.5, -0.4])
    """

    name: str
    metric: str
    params: Sequence[Params]
    curves: Array
    direction: Direction | str = Direction.MIN
    unit: str = "epoch"

    def __post_init__(self) -> None:
        curves = np.asarray(self.curves, dtype=np.float64)
        if curves.ndim != 2 or not curves.size:
            raise DataError(
                f"problem {self.name!r}: there is no complete curve; curves has the shape "
                f"{curves.shape} and must have (configurations, steps)"
            )
        if len(self.params) != len(curves):
            raise DataError(
                f"problem {self.name!r}: {len(self.params)} configurations and {len(curves)} "
                "curves; each needs the other"
            )
        if self.direction not in list(Direction):
            raise DataError(f"direction={self.direction!r}: must be 'min' or 'max'")
        if fault := _incomplete(curves):
            raise DataError(f"problem {self.name!r}: {fault}")
        object.__setattr__(self, "curves", curves)
        object.__setattr__(self, "direction", Direction(self.direction))
        object.__setattr__(self, "params", [dict(point) for point in self.params])

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, drop_incomplete: bool = False) -> Self:
        """Read a curve store, or the complete trials of a campaign.

        Parameters
        ----------
        path : path
            What ``daskhpo curves import`` made, or a campaign directory.
        drop_incomplete : bool
            Leave out configurations whose curve ends early or has gaps, instead of refusing
            them. Those of a campaign are always left out: stopping them was its purpose.

        Raises
        ------
        StoreError
            If there are no curves at the path, or they are damaged.
        DataError
            If no curve is complete, or some are not and are not to be dropped.

        Examples
        --------
        >>> Problem.open("runs/nowhere")
        Traceback (most recent call last):
        daskhpo.exceptions.StoreError: there are no curves at runs/nowhere: check the path; in a \
new campaign they appear with the first reports
        """
        from daskhpo.store.curves import open_curves

        path = Path(path)
        campaign = (path / "curves.zarr").is_dir()
        data = open_curves(path / "curves.zarr" if campaign else path)
        metric = str(data.attrs["metric"])
        curves = np.asarray(data[metric if metric in data else f"metric_{metric}"].values)
        curves = curves[:, : _length(curves)]
        whole = np.isfinite(curves).all(axis=1) & (curves.shape[1] > 0)
        if campaign:
            whole &= np.asarray(data["state"].values == TrialState.COMPLETED.value)
        name = str(data.attrs.get("name") or (path.name if campaign else path.stem))
        if not whole.any():
            raise DataError(
                f"{path}: there is no complete curve among {len(curves)}; simulating needs "
                "configurations that were trained to the end"
            )
        if not whole.all() and not (campaign or drop_incomplete):
            raise DataError(
                f"{path}: {_incomplete(curves)}; leave such rows out with drop_incomplete=True "
                "(--drop-incomplete), or import the table with --clean"
            )
        return cls(
            name,
            metric,
            _configurations(data, np.flatnonzero(whole)),
            curves[whole],
            direction=str(data.attrs["direction"]),
            unit=str(data.attrs.get("unit", "step")),
        )

    @property
    def max_step(self) -> int:
        """R, the step at which every curve ends."""
        return int(self.curves.shape[1])

    @property
    def sign(self) -> float:
        """+1 if the metric is minimised, -1 if it is maximised."""
        return Direction(self.direction).sign

    @property
    def finals(self) -> Array:
        """Last value of every curve, signed so that smaller is better; shape (n,)."""
        finals: Array = self.sign * self.curves[:, -1]
        return finals

    def space(self) -> Space:
        """A space that holds every stored configuration.

        See :func:`daskhpo.simulate.inference.infer_space` for what is made of which column.

        Raises
        ------
        DataError
            If a parameter is inactive in some configurations and nothing says when.

        Examples
        --------
        >>> params = [{"lr": 10.0**-k, "layers": k % 3, "data": "sample"} for k in range(1, 12)]
        >>> Problem("made up", "loss", params, np.ones((11, 2))).space()
        Space(lr=Float(1e-11, 0.1, log=True), layers=Int(0, 2), data=Constant('sample'))
        """
        return infer_space(self.params, name=self.name)

    def __len__(self) -> int:
        return len(self.curves)

    def __repr__(self) -> str:
        return (
            f"<Problem {self.name!r}: {len(self)} curves of {self.metric!r} "
            f"({Direction(self.direction)}) x {self.max_step} {self.unit}s>"
        )


def _length(curves: Array) -> int:
    """Steps up to the last one that anybody reported: stores keep room for more."""
    seen = np.flatnonzero(~np.isnan(curves).all(axis=0))
    return int(seen[-1]) + 1 if len(seen) else 0


def _incomplete(curves: Array) -> str:
    """Say how many curves are not whole and which is the first; empty if all are."""
    bad = ~np.isfinite(curves)
    rows = np.flatnonzero(bad.any(axis=1))
    if not len(rows):
        return ""
    first = int(rows[0])
    step = int(np.flatnonzero(bad[first])[0]) + 1
    ends = bool(np.isnan(curves[first, step - 1 :]).all())
    what = f"ends after step {step - 1}" if ends else f"is {curves[first, step - 1]} at step {step}"
    return (
        f"{len(rows)} of {len(curves)} curves are not whole (every one needs {curves.shape[1]} "
        f"finite values): that of row {first}, the first of them, {what}"
    )


def _configurations(data: xr.Dataset, rows: npt.NDArray[np.intp]) -> list[dict[str, ParamValue]]:
    """The configurations in ``rows`` of a store; whole-numbered columns become integers."""
    found: list[dict[str, ParamValue]] = [{} for _ in rows]
    for name in data.attrs["params"]:
        column: list[Any] = data[f"param_{name}"].values[rows].tolist()
        numbers = [v for v in column if isinstance(v, float) and not math.isnan(v)]
        whole = all(number.is_integer() for number in numbers)
        for point, value in zip(found, column, strict=True):
            if value is None or (isinstance(value, float) and math.isnan(value)):
                continue
            point[name] = int(value) if whole and isinstance(value, float) else value
    return found
