"""What a site is like: its batch system, nodes, network and rules, read from a preset.

A *site file* is a piece of dask-jobqueue's configuration (``jobqueue.NAME``: cores, memory,
interface, queue ...) with what dask-jobqueue does not know beside it (``daskhpo.site``). Sites are
looked for in ``~/.config/dask``, in the repository's ``jobqueue`` and in
``PREFIX/share/daskhpo/jobqueue``, in this order.

What holds for an option, first come, first served: Dask's configuration of ``jobqueue.NAME``
(yours: an account, say), the site file, Dask's configuration of ``jobqueue.KIND`` (your
``jobqueue.yaml``), dask-jobqueue's defaults. What is null is not said.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import dask.config
import yaml

from daskhpo.cluster.settings import SYSTEMS
from daskhpo.exceptions import CampaignError
from daskhpo.scalars import nearest

__all__ = ["Site", "find_sites", "load_site"]

NODE_LOCAL = ("/tmp", "/var/tmp", "/dev/shm", "/run")
GPU_DIRECTIVES = {  # elsewhere the way to ask for GPUs differs from site to site
    "slurm": "--gres=gpu:{gpus}",
    "lsf": '-gpu "num={gpus}"',
    "htcondor": "request_gpus = {gpus}",
}
DRIVER = MappingProxyType(
    {"queue": "", "walltime": "", "cores": 1, "memory": "4GB", "directives": ()}
)

_TYPES: Mapping[str, tuple[type, str]] = {  # {key of daskhpo.site: what its value must be}
    "kind": (str, "a text"),
    "description": (str, "a text"),
    "tested": (bool, "true or false"),
    "sources": (list, "a list of texts"),
    "gpus": (int, "an integer of at least 0"),
    "gpu-directive": (str, "a text such as '--gres=gpu:{gpus}'"),
    "node-local": (list, "a list of paths"),
    "check": (str, "a shell command"),
    "driver": (dict, f"a mapping with some of {', '.join(DRIVER)}"),
}


@dataclass(frozen=True, slots=True)
class Site:
    """A place with a batch system.

    Parameters
    ----------
    name : str
        Also its section in dask-jobqueue's configuration.
    kind : str
        One of :data:`daskhpo.cluster.settings.SYSTEMS`.
    options : mapping
        dask-jobqueue's configuration, complete: ``{"cores": 48, "interface": "ib0", ...}``.
    gpus : int
        GPUs of a batch job.
    gpu_directive : str
        How a batch job asks for them; ``{gpus}`` stands for their number. Empty where options say
        so already.
    node_local : sequence of str
        Directories that every node has to itself: no campaign can lie there. Where there are any,
        none can lie on a file system in memory either.
    check : str
        A shell command that every batch job runs first; if it fails, the node is broken.
    driver : mapping
        The batch job of ``daskhpo submit``: ``queue`` and ``walltime`` (empty: as the workers'),
        ``cores``, ``memory`` and ``directives``.
    description : str
        One line for people.
    tested : bool
        Whether a campaign has really run there with this file.
    sources : sequence of str
        Where what stands here is documented.

    Examples
    --------
    >>> site = Site("ours", "slurm", {"cores": 8}, gpus=4)
    >>> site.gpu_directive.format(gpus=site.gpus)
    '--gres=gpu:4'
    """

    name: str
    kind: str
    options: Mapping[str, Any]
    gpus: int = 0
    gpu_directive: str | None = None
    node_local: tuple[str, ...] = NODE_LOCAL
    check: str = ""
    driver: Mapping[str, Any] = field(default_factory=lambda: dict(DRIVER))
    description: str = ""
    tested: bool = False
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in SYSTEMS:
            raise CampaignError(
                f"site {self.name!r}: kind={self.kind!r}: must be one of {', '.join(SYSTEMS)}"
            )
        if self.gpu_directive is None:
            object.__setattr__(self, "gpu_directive", GPU_DIRECTIVES.get(self.kind, ""))


def find_sites() -> dict[str, Path]:
    """All sites that have a file, by name, sorted.

    Examples
    --------
    >>> isinstance(find_sites(), dict)
    True
    """
    found: dict[str, Path] = {}
    for directory in _directories():
        for path in sorted(directory.glob("*.yaml")):
            if path.stem not in found and "site" in _section(_read_quietly(path), "daskhpo"):
                found[path.stem] = path
    return dict(sorted(found.items()))


def load_site(name: str | os.PathLike[str] = "", *, kind: str = "") -> Site:
    """Read a site.

    Parameters
    ----------
    name : str or path
        Of a site, or the path of a site file (with a slash, or ending in ``.yaml``). Empty:
        whatever dask-jobqueue's own configuration says of ``kind``.
    kind : str
        What the site must be; needed where ``name`` is empty.

    Raises
    ------
    CampaignError
        If there is no such site, its file has an unknown key or a wrong value, or it is of another
        kind.

    Examples
    --------
    >>> load_site(kind="slurm").name
    'slurm'
    """
    text = os.fspath(name)
    kind = "slurm" if kind == "allocation" else kind
    if not text:
        if kind not in SYSTEMS:
            raise CampaignError(f"pool.kind={kind!r}: must be one of {', '.join(SYSTEMS)}")
        return Site(kind, kind, _options(kind, kind, {}))
    path = _path_of(text)
    site = _site_of(path, _read(path))
    if kind and site.kind != kind:
        raise CampaignError(
            f"pool.site={text!r} is of kind {site.kind!r}, but pool.kind={kind!r}: "
            f"make it pool.kind: {site.kind}"
        )
    return site


def _directories() -> list[Path]:
    repository = Path(__file__).resolve().parents[2]
    own = Path(dask.config.PATH).expanduser()
    return [own, repository / "jobqueue", Path(sys.prefix, "share", "daskhpo", "jobqueue")]


def _path_of(text: str) -> Path:
    if "/" in text or text.endswith((".yaml", ".yml")):
        path = Path(text).expanduser()
        if not path.is_file():
            raise CampaignError(f"pool.site={text!r}: there is no such file")
        return path
    known = find_sites()
    if text not in known:
        raise CampaignError(
            f"pool.site={text!r}: there is no such site; {nearest(text, known)}; or give the path "
            "of a site file"
        )
    return known[text]


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CampaignError(f"site file {path}: cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise CampaignError(f"site file {path}: must be a mapping with 'jobqueue' and 'daskhpo'")
    return content


def _read_quietly(path: Path) -> Mapping[str, Any]:
    """Whoever looks for sites does not care about other files of Dask's configuration."""
    try:
        return _read(path)
    except CampaignError:
        return {}


def _section(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = content.get(name)
    return section if isinstance(section, dict) else {}


def _site_of(path: Path, content: Mapping[str, Any]) -> Site:
    where = f"site file {path}"
    _refuse_unknown(where, content, ("jobqueue", "daskhpo"))
    sections = _section(content, "jobqueue")
    own = _section(content, "daskhpo")
    _refuse_unknown(f"{where}: daskhpo", own, ("site",))
    if len(sections) != 1:
        raise CampaignError(f"{where}: jobqueue must have one section, named like the site")
    [name] = sections
    settings = {key: value for key, value in _section(own, "site").items() if value is not None}
    _check(f"{where}: daskhpo.site", settings)
    given = {str(key).replace("_", "-"): value for key, value in (sections[name] or {}).items()}
    options = _options(name, settings["kind"], given)
    _refuse_unknown(f"{where}: jobqueue.{name}", given, _defaults(settings["kind"]))
    if not isinstance(options.get("walltime") or "", str):
        raise CampaignError(
            f"{where}: jobqueue.{name}.walltime={options['walltime']!r}: must be a text such as "
            "'02:00:00' (with quotes in YAML)"
        )
    words = {key.replace("-", "_"): value for key, value in settings.items()}
    for key in ("sources", "node_local"):
        if key in words:
            words[key] = tuple(words[key])
    words["driver"] = {**DRIVER, **words.get("driver", {})}
    return Site(str(name), options=options, **words)


def _check(where: str, settings: Mapping[str, Any]) -> None:
    _refuse_unknown(where, settings, _TYPES)
    if settings.get("kind") not in SYSTEMS:
        raise CampaignError(
            f"{where}.kind={settings.get('kind')!r}: must be one of {', '.join(SYSTEMS)}"
        )
    for key, value in settings.items():
        kind, allowed = _TYPES[key]
        good = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if kind is list:
            good = good and all(isinstance(each, str) for each in value)
        if not good or (kind is int and value < 0):
            raise CampaignError(f"{where}.{key}={value!r}: must be {allowed}")
    _refuse_unknown(f"{where}.driver", settings.get("driver", {}), DRIVER)


def _refuse_unknown(where: str, given: Mapping[str, Any], known: Any) -> None:
    for key in given:
        if key not in known:
            raise CampaignError(f"{where}: unknown key {key!r}; {nearest(key, known)}")


def _defaults(kind: str) -> dict[str, Any]:
    """dask-jobqueue's, read without importing it, which would take a second."""
    spec = importlib.util.find_spec("dask_jobqueue")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    path = Path(spec.submodule_search_locations[0], "jobqueue.yaml")
    defaults: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["jobqueue"][kind]
    return defaults


def _options(name: str, kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    options = _defaults(kind)
    for layer in (_configured(kind), given, _configured(name)):
        options.update({key: value for key, value in layer.items() if value is not None})
    return options


def _configured(name: str) -> dict[str, Any]:
    section = dask.config.get(f"jobqueue.{name}", {}) or {}
    return {str(key).replace("_", "-"): value for key, value in section.items()}
