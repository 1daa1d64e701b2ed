"""The options that the actions of `data-processing` share."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypedDict

TableInput = Annotated[
    str | list[dict[str, Any]] | dict[str, Any],
    "a path (`*` and `?` match several files), the result of an earlier step, or a list of rows",
]
"""A table as a step names it."""


class WorkOptions(TypedDict, total=False):
    """How much of the table is wanted, and how much the work may take."""

    limit: Annotated[int, "keep only so many rows, the first ones"]
    preview: Annotated[int, "how many rows the result shows (default 5)"]
    memory: Annotated[str, "memory to use before spilling to disk, like `4GB` (default 1GB)"]
    threads: Annotated[int, "threads to use; with more than the default 1, sums of floats may differ in the last digit"]


class OutputOptions(WorkOptions, total=False):
    """Where the table goes besides."""

    output: Annotated[str, "file to write, its format told by its ending (default: a Parquet file of the execution)"]
    as_rows: Annotated[bool, "return the rows themselves as `data`, up to 1,000, instead of writing a file"]


class ReadOptions(TypedDict, total=False):
    """How a file is read; what is not said is found out. All but ``format`` are for CSV."""

    format: Annotated[Literal["csv", "json", "parquet"], "when the ending does not tell it"]
    delimiter: Annotated[str, "what stands between two fields"]
    header: Annotated[bool, "whether the first line names the columns"]
    names: Annotated[list[str], "names for the columns"]
    types: Annotated[dict[str, str], "types of some columns, like {dep_time: INTEGER}"]
    nulls: Annotated[list[str], "texts that mean: no value"]
    quote: Annotated[str, "what encloses a field"]
    escape: Annotated[str, "what stands before a quote inside a quoted field"]
    skip: Annotated[int, "lines to skip at the start"]
    date_format: Annotated[str, "like %d.%m.%Y"]
    timestamp_format: Annotated[str, "like %d.%m.%Y %H:%M"]
    encoding: Annotated[str, "utf-8, utf-16 or latin-1"]
    ignore_errors: Annotated[bool, "drop lines that cannot be read"]


class LoadOptions(OutputOptions, ReadOptions, total=False):
    """Everything that can be said about a table read and handed on."""


class ConvertOptions(WorkOptions, ReadOptions, total=False):
    """The same where the file to write is named already."""
