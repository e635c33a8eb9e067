"""How a child comes to the checkpoint of its parent, whatever becomes of the parent.

A trial that takes the place of another (population based training) begins from a third one's
checkpoint. That one trains on, saves newer checkpoints, or is stopped and clears them, while the
child may still wait for a worker, or lose its first one. So whoever hands the child out gives it
a checkpoint of its own first (:func:`bequeath`): a hard link ``trials/00012/inherited/``, which
costs nothing, holds the file when its other name goes, and is removed with the child's first
checkpoint. A child without one looks into its parent's directory itself.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from daskhpo.exceptions import CheckpointError
from daskhpo.worker.checkpoint import HEIRLOOM, Checkpoint, places_in, read

__all__ = ["bequeath", "inherit"]

logger = logging.getLogger(__name__)


def bequeath(parent: Path, child: Path, step: int) -> bool:
    """Give a child its parent's checkpoint, before either goes on.

    Call it where jobs are handed out; it may be called again, and replaces what it gave before.

    Parameters
    ----------
    parent, child : Path
        The trials' directories.
    step : int
        The step at which the child begins.

    Returns
    -------
    bool
        Whether there was one to give. If not, the child will look for itself.

    Examples
    --------
    >>> bequeath(Path("trials/00003"), Path("trials/00012"), 10)
    False
    """
    folder = child / HEIRLOOM
    shutil.rmtree(folder, ignore_errors=True)
    for place in _candidates(parent, step):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _share(place, folder / place.name)
        except OSError as error:  # its parent may have saved another one this very moment
            logger.warning("checkpoint %s cannot be given to %s: %s", place, child.name, error)
        else:
            return True
    return False


def inherit(parent: Path, child: Path, step: int, *, below: int) -> Checkpoint | None:
    """The checkpoint from which a child begins that has none of its own.

    That of its ``inherited`` directory; else, in its parent's, the newest one up to ``step``, or
    the oldest one beyond. Damaged ones are passed over.

    Parameters
    ----------
    parent, child : Path
        The trials' directories.
    step : int
        The step at which it is to begin.
    below : int
        A checkpoint of this step or a later one leaves nothing to train.
    """
    places = [place for *_, place in places_in(child, (HEIRLOOM,))] + _candidates(parent, step)
    for place in places:
        try:
            checkpoint = read(place)
        except (OSError, CheckpointError) as error:
            logger.warning("checkpoint %s is passed over: %s", place, error)
            continue
        if checkpoint.step < below:
            return checkpoint
    return None


def _candidates(parent: Path, step: int) -> list[Path]:
    """A parent's checkpoints: those up to a step, newest first, then the others, oldest first."""
    found = places_in(parent, ("a*", HEIRLOOM))
    before = [place for at, _, place in found if at <= step]
    return before + [place for at, _, place in reversed(found) if at > step]


def _share(source: Path, target: Path) -> None:
    """Link a file, or copy it where links are not possible; whole, or not at all."""
    try:
        os.link(source, target)
        return
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without links
        draft = target.with_suffix(f".tmp-{os.getpid()}")
    shutil.copyfile(source, draft)
    os.replace(draft, target)
