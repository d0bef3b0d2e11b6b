"""The plan of a lab that is up, kept as JSON in its state folder."""

import dataclasses
import json

from labkit import plan as p
from labkit.system import LabError


def _file(name):
    return p.STATE_ROOT / name / "lab.json"


def exists(name):
    return (p.STATE_ROOT / name).exists()


def save(plan, **kept):
    """Writes the plan, and beside it what `down` has to give back (`kept`)."""
    content = {"plan": dataclasses.asdict(plan), "kept": kept}
    _file(plan.name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _content(name):
    try:
        return json.loads(_file(name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LabError(f"no lab '{name}' is up: scripts/lab up"
                       + ("" if name == p.DEFAULT_NAME else f" --name {name}")) from None


def load(name):
    return p.Plan(**_content(name)["plan"])


def kept(name):
    return _content(name)["kept"]
