"""What the README shows does what it says."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

TRAIN = """
import argparse, json, os
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--epochs", type=int)
parser.add_argument("--out")
given = parser.parse_args()
with open(int(os.environ["DASKHPO_METRICS_FD"]), "w") as metrics:
    for step in range(1, given.epochs + 1):
        print(json.dumps({"step": step, "val_loss": given.lr + 1 / step}), file=metrics, flush=True)
"""


def block(language: str) -> str:
    """The first fenced block of a language."""
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run it in ``folder`` and insist on success."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def test_the_quick_start_stands_by_line_20() -> None:
    lines = README.splitlines()
    assert any("make quickstart" in line for line in lines[:20])


def test_the_python_example_runs(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    script = tmp_path / "example.py"
    script.write_text(block("python"), encoding="utf-8")
    printed = run([sys.executable, str(script)], tmp_path).stdout
    assert "completed" in printed
    assert "xarray.Dataset" in printed


def test_the_campaign_file_example_runs(tmp_path: Path) -> None:
    text = block("yaml").replace("command: python ", f"command: {sys.executable} ")
    (tmp_path / "sweep.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "train.py").write_text(TRAIN, encoding="utf-8")
    program = [sys.executable, "-m", "daskhpo"]
    # The command is found relative to where the campaign is started.
    run([*program, "run", "sweep.yaml", "--path", "sweep", "--trials", "6"], tmp_path)
    best = json.loads(run([*program, "best", "sweep", "--json"], tmp_path).stdout)
    assert best["state"] == "completed"


def test_every_command_it_names_exists() -> None:
    from daskhpo.cli import main

    verbs = "run|resume|status|best|explain|export|rebuild|verify|curves|simulate|compare|"
    verbs += "reliability|schedule"
    named = set(re.findall(rf"daskhpo ({verbs})\b", README))
    assert named <= set(main.commands)
    assert {"run", "resume", "status", "explain", "export", "rebuild", "compare"} <= named


def test_every_file_it_links_exists() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z-]+)", README)) <= targets


def test_the_commands_on_curves_run(tmp_path: Path) -> None:
    rows = [",".join(["lr", "width", *(f"loss_{step}" for step in range(8))])]
    for i in range(30):
        rows.append(",".join([f"{0.001 * (i + 1)}", str(8 * (1 + i % 4)),
                              *(f"{1 / (step + 1) + i / 30}" for step in range(8))]))  # fmt: skip
    (tmp_path / "table.csv").write_text("\n".join(rows), encoding="utf-8")
    commands = re.search(r"```bash\n(daskhpo curves import.*?)```", README, re.DOTALL)
    assert commands is not None
    for line in commands[1].replace("data/plans", str(ROOT / "data/plans")).splitlines():
        words = shlex.split(line.split("  #")[0])
        assert words[0] == "daskhpo"
        run([sys.executable, "-m", *words], tmp_path)
    assert (tmp_path / "comparison" / "results.csv").exists()
