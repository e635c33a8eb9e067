"""What can go wrong, as one small hierarchy.

Every message names the parameter, the value that was given and what is allowed, so that a
campaign file can be mended from the message alone.
"""

from __future__ import annotations

__all__ = [
    "AnnealerError",
    "BrokenNode",
    "CampaignError",
    "CheckpointError",
    "DaskhpoError",
    "DataError",
    "LockedError",
    "ObjectiveError",
    "PredictorError",
    "ReplayError",
    "SchedulerError",
    "SpaceError",
    "StoreError",
]


class DaskhpoError(Exception):
    """Base class of everything daskhpo raises on purpose."""


class SpaceError(DaskhpoError, ValueError):
    """A search space, a domain or a point of it is not valid."""


class SchedulerError(DaskhpoError, ValueError):
    """A scheduler or sampler was given settings that cannot work."""


class PredictorError(SchedulerError):
    """A predictor was given settings that cannot work, or curves that it cannot learn from."""


class AnnealerError(DaskhpoError, RuntimeError):
    """An annealer did not answer: no access, no network, too late, or too large a problem."""


class CampaignError(DaskhpoError, ValueError):
    """A campaign file or the settings of a tuner are not valid."""


class ObjectiveError(DaskhpoError, RuntimeError):
    """The objective cannot be found, called or trusted with what it reported."""


class StoreError(DaskhpoError, RuntimeError):
    """A campaign directory is damaged, of another version, or cannot be written."""


class LockedError(StoreError):
    """Another process writes to this campaign directory."""


class ReplayError(StoreError):
    """A journal does not lead to the decisions that it records."""


class BrokenNode(DaskhpoError, RuntimeError):
    """A worker's machine cannot train what it was asked to: the worker has to go, not the trial."""


class CheckpointError(DaskhpoError, RuntimeError):
    """A checkpoint cannot be written or read, or does not fit the objects to restore."""


class DataError(DaskhpoError, ValueError):
    """A data file is not in the format it claims; names the file, the event and the column."""
