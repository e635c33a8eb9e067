"""Predictors that do not learn as they should; worker processes can import them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from daskhpo.exceptions import PredictorError
from daskhpo.predictors.base import Configured


class Pupil(Configured):
    """Forecasts the last value, if it ever comes to that.

    ``manner``: ``"good"``; ``"refuses"`` what it is given; ``"raises"`` something that nobody
    expects, with the text ``word``; ``"nan"`` forecasts no number; ``"waits"`` until the file
    ``word`` is there; ``"dies"`` and takes its process with it; ``"odd"`` tells what is no JSON.
    """

    def __init__(self, manner="good", word="", annealer="svr"):
        self.manner = manner
        self.word = word
        self.annealer = annealer

    def fit(self, curves, targets, static=None):
        if self.manner == "refuses":
            raise PredictorError("these curves are not to its liking")
        if self.manner == "raises":
            raise ArithmeticError(self.word)
        if self.manner == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        while self.manner == "waits" and not Path(self.word).exists():
            time.sleep(0.01)
        if self.manner == "odd":
            self.record = {"share": np.float32(0.5), "bits": np.arange(3), "worst": float("nan")}
        return self

    def predict(self, curves, static=None):
        return curves[:, -1] * (np.nan if self.manner == "nan" else 1.0)
