"""Read a campaign file as its author meant it."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from daskhpo.exceptions import CampaignError

__all__ = ["load_yaml"]


class _Loader(yaml.SafeLoader):
    """YAML in which ``1e-5`` is a number and a key stands once.

    YAML 1.1 wants a point and a signed exponent in a float and reads ``1e-5`` as a text; of two
    equal keys it silently keeps the last.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                line = key_node.start_mark.line + 1
                raise CampaignError(f"line {line}: {key!r} is given twice: keep one of them")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def load_yaml(text: str) -> Any:
    """Parse YAML.

    Raises
    ------
    yaml.YAMLError
        If it is none.
    CampaignError
        If a key is given twice.

    Examples
    --------
    >>> load_yaml("lr: [1e-5, 1.0e-4, 2E3]")
    {'lr': [1e-05, 0.0001, 2000.0]}
    """
    return yaml.load(text, Loader=_Loader)
