"""Every page is followed: its files written, its Python run, its commands typed, what they print compared."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import pytest

from orchestrator.cli.app import COMMANDS, program
from tests.docs.blocks import PAGES, ROOT, Block, blocks_of, name_of
from tests.docs.trying import PROGRAMS, Reader, matches, typed_lines

TRIED = {"python", "yaml", "console", "toml"}
FOLLOWED = [page for page in PAGES if any(block.kind in TRIED for block in blocks_of(page))]
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
CONSOLES = [block for block in BLOCKS if block.kind == "console"]


@pytest.mark.usefixtures("clean_process")
@pytest.mark.parametrize("page", FOLLOWED, ids=name_of)
def test_page_can_be_followed(page: Path, request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]) -> None:
    if page.name == "tutorial.md":
        request.getfixturevalue("flights")

    def output() -> str:
        sys.stdout.flush()
        sys.stderr.flush()
        captured = capfd.readouterr()
        return captured.out + captured.err

    reader = Reader(output)
    try:
        for block in blocks_of(page):
            reader.follow(block)
    finally:
        reader.close()


@pytest.mark.parametrize("block", CONSOLES, ids=lambda block: block.place)
def test_command_lines_are_well_formed(block: Block) -> None:
    """Also of those that are not run: the command exists and takes these options."""
    import shlex

    for line, _ in typed_lines(block.text):
        words = [word for word in shlex.split(line, comments=True) if word != "&"]
        if words[0] not in PROGRAMS:
            continue
        words = words[: words.index(">")] if ">" in words else words
        words = words[: words.index(">>")] if ">>" in words else words
        context = click.Context(program, info_name="orchestrator", **program.context_settings)
        _, rest, _ = program.make_parser(context).parse_args(words[1:])
        assert rest, f"{block.place}: {line}"
        assert rest[0] in COMMANDS, f"{block.place}: {line}"
        command = program.get_command(context, rest[0])
        assert command is not None
        inner = click.Context(command, info_name=rest[0], parent=context, help_option_names=["-h", "--help"])
        command.make_parser(inner).parse_args(rest[1:])


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if "from" in block.notes], ids=lambda block: f"{block.place}"
)
def test_quoted_pieces_stand_in_the_example(block: Block) -> None:
    source = (ROOT / "examples" / "flights" / block.notes["from"]).read_text("utf-8")
    assert block.text in source


def test_kinds_of_blocks_are_known() -> None:
    assert {block.kind for block in BLOCKS} <= TRIED | {"text", "pycon"}


def test_outputs_are_compared_by_what_matters() -> None:
    assert matches("daily: 130 of 365 (36 %) 11 May\n…\nend\n", "daily: 1 of 365 (0 %) 2 June\nmore\nend\n")
    assert matches("done in 3.7 s, …\n", "done in 40 ms, and so on\n")
    assert not matches("a\n…\nc\n", "a\nb\n")
    assert not matches("a: completed\n", "a: failed\n")
