"""Crash points cost nothing and do nothing where no crash is wanted, and are told completely."""

from __future__ import annotations

import dis
import re
from pathlib import Path

from orchestrator import crashpoints

ROOT = Path(__file__).parents[2]


def test_in_a_normal_run_a_point_is_an_empty_function() -> None:
    assert not crashpoints.ACTIVE
    names = {instruction.opname for instruction in dis.get_instructions(crashpoints.point)}
    assert names <= {"RESUME", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}


def test_every_point_has_a_place_and_what_a_resume_finds() -> None:
    page = (ROOT / "docs" / "guarantees.md").read_text("utf-8")
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE)
    told = [name for names, place, found in rows if place.strip() and found.strip() for name in names.split(", ")]
    assert {name.strip("`") for name in told} >= set(crashpoints.POINTS)


def test_every_point_is_passed_somewhere_in_the_package() -> None:
    code = "".join(path.read_text("utf-8") for path in sorted((ROOT / "src").rglob("*.py")))
    for point in crashpoints.POINTS:
        moment, _, what = point.partition("_")
        assert f'point("{point}")' in code or f'point(f"{{moment}}_{what}")' in code, (point, moment)
