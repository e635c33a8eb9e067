"""Under a virtual clock models are fitted in no time: whoever asks for a forecast has one."""

from __future__ import annotations

from daskhpo.advice import Forecast, Forecaster, learn

__all__ = ["Prompt"]


class Prompt(Forecaster):
    """A forecaster that learns what is due before it answers.

    Parameters
    ----------
    like : Forecaster
        A new one, whose predictor and settings are taken over.

    Examples
    --------
    >>> from daskhpo.predictors import LastDrop
    >>> prompt = Prompt(Forecaster(LastDrop(), labels=4))
    >>> for number in range(5):
    ...     for step in (1, 2) if number < 4 else (1,):
    ...         prompt.observe(number, step, 1 / step)
    >>> prompt.forecast(4, 1, target=2, since=0, delta=0.2).value
    0.5
    """

    def __init__(self, like: Forecaster) -> None:
        super().__init__(like.predictor, labels=like.labels)

    def forecast(
        self, number: int, step: int, *, target: int, since: int, delta: float
    ) -> Forecast | None:
        """Fit what is wanted, then forecast."""
        self._wanted[step, target] = since
        for lesson in self.due():
            self.take(learn(lesson))
        return super().forecast(number, step, target=target, since=since, delta=delta)
