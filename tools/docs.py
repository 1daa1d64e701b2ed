"""Write the generated parts of the documentation: `make docs`.

A page keeps its own words; between ``<!-- generated: WHAT -->`` and ``<!-- /generated -->`` stands what the code says
about itself. A test fails when a page differs from what would be written here.

    python tools/docs.py            write the pages
    python tools/docs.py --check    only tell which would change; exit 1 if any
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
MARK = re.compile(r"(<!-- generated: (?P<what>[^>]*?) -->\n)(?P<old>.*?)(<!-- /generated -->)", re.DOTALL)
WIDE = 96
"""Longest line of a signature before it is broken up."""


def pages() -> dict[Path, str]:
    """Return every page as it should be."""
    return {path: renewed(path.read_text("utf-8")) for path in sorted(DOCS.rglob("*.md"))}


def renewed(text: str) -> str:
    """Return a page's text with its generated parts written anew."""
    return MARK.sub(_part, text)


def _part(match: re.Match[str]) -> str:
    kind, *words = match["what"].split()
    return f"{match[1]}\n{PARTS[kind](*words).strip()}\n\n{match[4]}"


def _table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(headings)} |", f"| {' | '.join('---' for _ in headings)} |"]
    lines += [
        f"| {' | '.join(cell.replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in row)} |" for row in rows
    ]
    return "\n".join(lines)


# -- the language ------------------------------------------------------------------------------------------------

REFERENCE = DOCS / "yaml-reference.md"


def sections() -> dict[str, str]:
    """Return the tables of the language that the reference has: name -> the heading of its section."""
    found: dict[str, str] = {}
    heading = ""
    for match in re.finditer(r"^## (.+)$|<!-- generated: yaml (\w+) -->", REFERENCE.read_text("utf-8"), re.MULTILINE):
        heading = match[1] or heading
        if match[2]:
            found[match[2]] = heading
    return found


def _language(name: str) -> str:
    from orchestrator.compiler.keyexamples import ROWS
    from orchestrator.compiler.schema import tables

    table = next(table for table in tables() if table.name == name)
    about = table.definition()["properties"]
    rows = []
    for key, row in ((key, ROWS[name][key]) for key in table.keys):
        default = "required" if key in table.required else _default(about[key])
        meaning = about[key]["description"]
        rows.append((f"`{key}`", _type(about[key]), default, meaning, f"`{row.example}`", row.on_resume))
    for other, key in table.others.items():
        example = other + ROWS[name][key].example.removeprefix(key)
        rows.append(
            (f"`{other}`", _type(about[other]), "", about[other]["description"], f"`{example}`", f"As `{key}`.")
        )
    return _table(("key", "type", "default", "meaning", "example", "on a resume"), rows)


def _default(about: dict[str, Any]) -> str:
    value = about.get("default")
    if value is None or isinstance(value, dict) or value == []:
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else f'{value:g}' if isinstance(value, float) else value}`"


_WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false",
          "array": "list", "object": "mapping", "null": ""}  # fmt: skip


def _one_of(kinds: list[dict[str, Any]]) -> str:
    from orchestrator.compiler.pacing import RATE_PATTERN

    if any("continue" in each.get("pattern", "") for each in kinds):
        return "`fail`, `continue`, whole number or part"
    if any("pattern" in each and each["pattern"] != RATE_PATTERN for each in kinds):
        return "duration"
    return " or ".join(dict.fromkeys(text for each in kinds if (text := _type(each))))


def _type(about: dict[str, Any]) -> str:
    from orchestrator.compiler.pacing import RATE_PATTERN

    if "$ref" in about:
        heading = sections()[about["$ref"].rpartition("/")[2]].lower()
        return f"[{re.sub('^an? ', '', heading)}](#{heading.replace(' ', '-')})"
    if "const" in about:
        return f"`{str(about['const']).lower()}`"
    if "enum" in about:
        return ", ".join(f"`{choice}`" for choice in about["enum"])
    if "anyOf" in about:
        return _one_of(about["anyOf"])
    if about.get("pattern") == RATE_PATTERN:
        return "rate"
    kind = about.get("type")
    if isinstance(kind, list):
        return "anything else"
    if kind == "array":
        return f"list of {_type(about['items'])}s" if "$ref" in about["items"] else "list of texts"
    inner = about.get("additionalProperties")
    if kind == "object" and isinstance(inner, dict):
        return f"mapping of names to: {_type(inner)}"
    return _WORDS.get(str(kind), "anything")


def _filters(*_words: str) -> str:
    from orchestrator.compiler.filters import FILTERS, FUNCTIONS, TESTS

    def names(known: dict[str, Any]) -> str:
        return ", ".join(f"`{name}`" for name in sorted(known) if name[0].isalpha())

    rows = [("filters", names(FILTERS)), ("tests", names(TESTS)), ("functions", names(FUNCTIONS))]
    return _table(("", "there are"), rows)


def _limits(*_words: str) -> str:
    from orchestrator.compiler import expressions, limits, load

    file = (f"{load.MAX_BYTES:,} bytes of UTF-8", f"{load.MAX_DEPTH} levels deep",
            f"{load.MAX_NODES:,} values (an alias counts as all that it stands for)")  # fmt: skip
    rows = [
        ("a file", ", ".join(file)),
        ("an expression", f"{expressions.MAX_EXPRESSION:,} characters"),
        ("the text a template yields", f"{limits.MAX_TEXT:,} characters"),
        ("all that rendering one value makes", f"{limits.MAX_WORK:,} characters; an item of a list counts as eight"),
        ("a whole number a template computes", f"{limits.MAX_BITS:,} bits"),
        ("an id", "128 characters: letters, digits, `_`, `-` and `.`, beginning with a letter, digit or `_`"),
    ]
    return _table(("what", "at most"), rows)


# -- the command line --------------------------------------------------------------------------------------------

EXIT_CODES: dict[int, tuple[str, str]] = {
    0: ("done", ""),
    1: ("a step failed, or the execution was cancelled", "the last line is the command that resumes"),
    2: (
        "the command, the pipeline or the inputs are wrong; or the resume was refused",
        "the message says what and where",
    ),
    3: ("no such execution or checkpoint", "`orchestrator list`, `orchestrator checkpoints EXECUTION`"),
    4: ("another process owns the execution", "`--wait`, `orchestrator cancel`, or `--steal` if it is stopped"),
    5: ("ownership was lost while running", "nothing: the new owner goes on"),
    6: ("the store is unavailable or full", "make room, mend the disk, then resume"),
    7: ("a record is damaged", "`orchestrator verify` shows all of them"),
    8: ("another format, or another pipeline", "use the version, or the definition, that it began with"),
    9: ("nothing is left but to wait (`--no-wait`)", "answer, then resume; `orchestrator approve` lists what is asked"),
    70: ("a bug of ours", "the traceback is in the file that the message names; please report it"),
    130: ("stopped gracefully by Ctrl-C", "resume when you like"),
    143: ("stopped gracefully by SIGTERM", "resume when you like"),
}
"""Exit code -> what it means, and what to do."""


def _exit_codes(*_words: str) -> str:
    return _table(("code", "meaning", "what to do"), [(f"{code}", *about) for code, about in EXIT_CODES.items()])


def _command(name: str) -> str:
    import click

    from orchestrator.cli.app import program

    wide: dict[str, Any] = {"terminal_width": 1000, "max_content_width": 1000, "help_option_names": ["-h", "--help"]}
    whole = click.Context(program, info_name="orchestrator", **wide)
    if name == "all":
        return _options(whole, program, common=True)
    command = program.get_command(whole, name)
    if command is None:
        raise SystemExit(f"no command {name}")
    context = click.Context(command, info_name=name, parent=whole, **wide)
    usage = command.get_usage(context).removeprefix("Usage: ")
    bare = r"(`[^`]*`)|(?<![\w-])(--[a-z][a-z-]+)"  # an option inside a quoted command is quoted already
    help_text = re.sub(bare, lambda found: found[1] or f"`{found[2]}`", inspect.cleandoc(command.help or ""))
    parts = [f"```text\n{usage}\n```", help_text, _options(context, command, common=False)]
    examples = getattr(command, "examples", ())
    if examples:
        parts.append("<!-- not run: examples of the command's own help -->\n```console\n"
                     + "\n".join(f"$ {example}" for example in examples) + "\n```")  # fmt: skip
    return "\n\n".join(part for part in parts if part)


def _options(context: Any, command: Any, *, common: bool) -> str:
    import click

    rows = []
    for option in command.get_params(context):
        shared = bool({"--store", "--debug", "--help", "--version"} & set(option.opts))
        record = option.get_help_record(context) if isinstance(option, click.Option) else None
        if record is not None and shared is common:
            rows.append((f"`{record[0]}`", record[1]))
    return _table(("option", "meaning"), rows) if rows else ""


# -- tools -------------------------------------------------------------------------------------------------------


def _tool(name: str) -> str:
    from orchestrator.tools.registry import ToolRegistry
    from orchestrator.tools.tables.options import OutputOptions, ReadOptions

    described = ToolRegistry().describe(name)
    shared = [("output options", OutputOptions), ("reading options", ReadOptions)] if name == "data-processing" else []
    parts = []
    for action in described.actions:
        parts.append(f"### {name}: {action.name}{' (the default action)' if action.default else ''}")
        parts.append(_markdown(action.text))
        own, groups = list(action.parameters), []
        for title, options in shared:
            keys = options.__annotations__.keys()
            if any(each.name in keys for each in own):
                here = [each for each in own if each.name in keys and each.name != "output"]
                lacks_output = "output" in keys and not any(each.name == "output" and not each.required for each in own)
                own = [each for each in own if each not in here and not (each.name == "output" and not each.required)]
                groups.append(
                    f"the [{title}](#{title.replace(' ', '-')}){' (but `output`, `as_rows`)' if lacks_output else ''}"
                )
        if own:
            parts.append(_table(("parameter", "type", "default", "meaning"), [_parameter(each) for each in own]))
        if groups:
            parts.append(f"And {', '.join(groups)}.")
    return "\n\n".join(parts)


def _parameter(each: Any) -> tuple[str, ...]:
    default = "required" if each.required else "none" if each.default is None else f"`{_json(each.default)}`"
    return f"`{each.name}`", f"`{each.type}`", default, each.description


def _json(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def _table_options(which: str) -> str:
    from orchestrator.tools.registry import ToolRegistry
    from orchestrator.tools.tables.options import OutputOptions, ReadOptions

    keys = {"output": OutputOptions, "reading": ReadOptions}[which].__annotations__.keys()
    load = next(action for action in ToolRegistry().describe("data-processing").actions if action.name == "load")
    rows = [(f"`{each.name}`", f"`{each.type}`", each.description) for each in load.parameters if each.name in keys]
    return _table(("option", "type", "meaning"), rows)


def _shipped(*_words: str) -> str:
    from orchestrator.tools.names import SHIPPED
    from orchestrator.tools.registry import ToolRegistry

    rows = []
    for name in SHIPPED:
        described = ToolRegistry().describe(name)
        actions = ", ".join(f"`{action.name}`" for action in described.actions) or "`module:function`"
        rows.append((f"[`{name}`](#{name})", actions, described.summary))
    return _table(("tool", "actions", "what it does"), rows)


# -- Python ------------------------------------------------------------------------------------------------------


def _api(*names: str) -> str:
    import orchestrator

    return "\n\n".join(_public(name, getattr(orchestrator, name)) for name in names)


def _kit(*names: str) -> str:
    from orchestrator import testing

    return "\n\n".join(_public(name, getattr(testing, name)) for name in names)


def _public(name: str, thing: Any) -> str:
    if not inspect.isclass(thing):
        return f"### {name}\n\n{_code(_signature(name, thing))}\n\n{_markdown(inspect.getdoc(thing) or '')}"
    parts = [f"### {name}"]
    if issubclass(thing, enum.Enum):
        parts.append(_markdown(_own_doc(thing)))
        parts.append(", ".join(f"`{member.value}`" for member in thing))
    elif issubclass(thing, BaseException):
        bases = ", ".join(base.__name__ for base in thing.__bases__)
        code = thing.__dict__.get("exit_code", getattr(thing, "exit_code", None))
        ends = "" if isinstance(code, property) or code is None else f" Exit code {code}."
        parts.append(f"*{bases}*.{ends}")
        parts.append(_markdown(_own_doc(thing)))
        return "\n\n".join(part for part in parts if part)
    else:
        if not getattr(thing, "_is_protocol", False) and name not in ("PipelineResumeManager", "StateManager"):
            parts.append(_code(_signature(name, thing)))
        parts.append(_markdown(_own_doc(thing)))
    parts += list(_members(thing))
    return "\n\n".join(part for part in parts if part)


def _own_doc(thing: type) -> str:
    text = thing.__doc__ or ""
    return "" if text.startswith(f"{thing.__name__}(") else inspect.cleandoc(text)


def _own(thing: type) -> dict[str, Any]:
    """Return what a class has, and what it has from bases of ours."""
    found: dict[str, Any] = dict(vars(thing))
    for base in thing.__mro__[1:]:
        if base.__module__.startswith("orchestrator."):
            found |= {name: member for name, member in vars(base).items() if name not in found}
    return found


def _members(thing: type) -> Iterator[str]:
    if issubclass(thing, enum.Enum):
        return
    fields = {field.name for field in dataclasses.fields(thing)} if dataclasses.is_dataclass(thing) else set()
    properties = []
    for name, member in _own(thing).items():
        if name.startswith("_") or name in fields:
            continue
        what = "property" if isinstance(member, property) or type(member).__name__ == "cached_property" else "method"
        text = inspect.getdoc(member) or ""
        if what == "property":
            properties.append((f"`{name}`", _markdown(text).replace("\n", " ")))
            continue
        function = inspect.unwrap(getattr(thing, name))
        if not callable(function) or isinstance(member, type):
            continue
        if properties:
            yield _table(("attribute", "meaning"), properties)
            properties = []
        yield f"#### {thing.__name__}.{name}\n\n{_code(_signature(name, function))}\n\n{_markdown(text)}"
    if properties:
        yield _table(("attribute", "meaning"), properties)


def _code(text: str) -> str:
    return f"```text\n{text}\n```"


def _signature(name: str, thing: Any) -> str:
    signature = inspect.signature(thing)
    parameters = list(signature.parameters.values())
    if (parameters and parameters[0].name == "self") or inspect.ismethod(thing):
        parameters = parameters[0 if inspect.ismethod(thing) else 1 :]
    prefix = (
        "await "
        if inspect.iscoroutinefunction(thing)
        else "async for ... in "
        if inspect.isasyncgenfunction(thing)
        else ""
    )
    returns = (
        ""
        if inspect.isclass(thing) or signature.return_annotation is inspect.Signature.empty
        else f" -> {_annotation(signature.return_annotation)}"
    )
    shown = [_one(each) for each in parameters]
    for index, each in enumerate(parameters):
        if each.kind is inspect.Parameter.KEYWORD_ONLY:
            if not any(other.kind is inspect.Parameter.VAR_POSITIONAL for other in parameters):
                shown.insert(index, "*")
            break
    line = f"{prefix}{name}({', '.join(shown)}){returns}"
    if len(line) <= WIDE:
        return line
    return f"{prefix}{name}(\n" + "".join(f"    {each},\n" for each in shown) + f"){returns}"


def _one(each: inspect.Parameter) -> str:
    stars = "*" * (each.kind is inspect.Parameter.VAR_POSITIONAL) + "**" * (each.kind is inspect.Parameter.VAR_KEYWORD)
    text = f"{stars}{each.name}"
    if each.annotation is not inspect.Parameter.empty:
        text += f": {_annotation(each.annotation)}"
    if each.default is not inspect.Parameter.empty:
        default = _json(each.default) if isinstance(each.default, str) else repr(each.default)
        if default.startswith("<"):
            default = "{}" if "factory" in default else "..."
        if isinstance(each.default, enum.Enum):
            default = _json(each.default.value)
        if dataclasses.is_dataclass(each.default) and not isinstance(each.default, type):
            default = f"{type(each.default).__name__}()"
        text += f" = {default}"
    return text


def _annotation(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def _markdown(text: str) -> str:
    """Turn a docstring into Markdown: double backticks become single ones, doctests blocks of code."""
    text = text.replace("``", "`")
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        if line.startswith(">>>") and not inside:
            lines.append("```pycon")
            inside = True
        elif inside and not line.strip():
            lines.append("```")
            inside = False
        lines.append(line)
    if inside:
        lines.append("```")
    return "\n".join(lines)


PARTS: dict[str, Callable[..., str]] = {
    "yaml": _language,
    "filters": _filters,
    "limits": _limits,
    "command": _command,
    "exit-codes": _exit_codes,
    "tools": _shipped,
    "tool": _tool,
    "table-options": _table_options,
    "api": _api,
    "kit": _kit,
}
"""First word of a mark -> what writes its part; the other words are its arguments."""


def main(arguments: list[str]) -> int:
    """Write the pages, or tell which would change."""
    changed = [(path, text) for path, text in pages().items() if path.read_text("utf-8") != text]
    for path, text in changed:
        if "--check" not in arguments:
            path.write_text(text, "utf-8")
        print(path.relative_to(ROOT))
    return 1 if changed and "--check" in arguments else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
