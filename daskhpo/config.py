"""The settings that belong to a machine rather than to a campaign, in Dask's own configuration.

Importing this module makes the defaults of ``daskhpo.yaml`` known to :mod:`dask.config`; what
files, the environment or ``dask.config.set`` say goes before them. Nothing is written anywhere.
"""

from __future__ import annotations

from importlib import resources

import dask.config
import yaml

__all__ = ["defaults"]


def defaults() -> str:
    """Give the commented defaults, as a YAML file to start one's own from.

    Returns
    -------
    str
        The text of ``daskhpo.yaml``.

    Examples
    --------
    >>> import dask.config, yaml
    >>> yaml.safe_load(defaults())["daskhpo"]["tuner-grace"]
    10
    >>> with dask.config.set({"daskhpo.tuner-grace": 60}):
    ...     dask.config.get("daskhpo.tuner-grace")
    60
    """
    return resources.files("daskhpo").joinpath("daskhpo.yaml").read_text(encoding="utf-8")


dask.config.update_defaults(yaml.safe_load(defaults()))
