"""The defaults are known to Dask, described, and never in the way of what the user set."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import dask.config
import pytest
import yaml

import daskhpo
from daskhpo.config import defaults

SCHEMA = yaml.safe_load(resources.files(daskhpo).joinpath("daskhpo-schema.yaml").read_text())
SETTINGS = yaml.safe_load(defaults())


def test_the_defaults_fit_the_schema():
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(SETTINGS, SCHEMA)


def test_the_schema_knows_every_key_and_no_other():
    assert set(SCHEMA["properties"]["daskhpo"]["properties"]) == set(SETTINGS["daskhpo"])


def test_wrong_values_do_not_fit_the_schema():
    jsonschema = pytest.importorskip("jsonschema")
    for wrong in (
        {"tuner-grace": -1},
        {"tuner-grace": "long"},
        {"local-dashboard": 8787},
        {"a": 1},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"daskhpo": wrong}, SCHEMA)


def test_keys_are_in_kebab_case_and_have_a_comment():
    lines = defaults().splitlines()
    for key in SETTINGS["daskhpo"]:
        assert re.fullmatch("[a-z]+(-[a-z]+)*", key)
        (place,) = (n for n, line in enumerate(lines) if line.startswith(f"  {key}:"))
        assert lines[place - 1].startswith("  # ")


def test_every_key_is_read_somewhere():
    root = Path(daskhpo.__file__).parent
    code = "".join(path.read_text(encoding="utf-8") for path in root.rglob("*.py"))
    for key in SETTINGS["daskhpo"]:
        assert f'dask.config.get("daskhpo.{key}"' in code


def test_dask_knows_the_defaults():
    for key, value in SETTINGS["daskhpo"].items():
        assert dask.config.get(f"daskhpo.{key}") == value


def test_the_environment_goes_before_the_defaults():
    settings = dask.config.collect(paths=[], env={"DASK_DASKHPO__TUNER_GRACE": "60"})
    dask.config.update_defaults(SETTINGS, config=settings, defaults=[])
    assert dask.config.get("daskhpo.tuner-grace", config=settings) == 60
    assert dask.config.get("daskhpo.local-dashboard", config=settings) is True
