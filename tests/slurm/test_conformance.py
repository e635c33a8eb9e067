"""Slurm does what every batch system must do."""

from __future__ import annotations

import uuid

import pytest

from daskhpo.cluster.slurm import Slurm
from daskhpo.testing.batch import BatchSuite


class TestSlurm(BatchSuite):
    crowd = 4  # one takes all GPUs of a node

    @pytest.fixture(autouse=True)
    def _make(self, slurm, tmp_path):
        self.directory = tmp_path
        self.slurm = Slurm(f"hpo-{uuid.uuid4().hex[:8]}", directory=tmp_path)

    def make(self):
        return self.slurm

    def script(self, body):
        options = ["--nodes=1", "--gpus-per-node=4", "--time=10", "--no-requeue"]
        options.append(f"--output={self.directory}/%j.out")
        return "\n".join(["#!/bin/bash", *(f"#SBATCH {each}" for each in options), body, ""])
