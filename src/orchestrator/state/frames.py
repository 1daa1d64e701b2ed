"""Arrays and data frames of libraries that the user brings: none is imported before a value needs it.

An array is stored as its dtype, shape and raw bytes; a frame as an Arrow IPC stream, and only if what comes back
equals it. Nothing here unpickles: an object column that Arrow cannot type is refused.
"""

from __future__ import annotations

import importlib
import io
import re
from math import prod
from typing import Any

import ormsgpack

from orchestrator.state import exttypes as ext
from orchestrator.state.exttypes import Unstorable

_SAFE_ARROW = 15  # older ones could be made to unpickle extension types of a file
_DTYPE = re.compile(
    r"[<>|=]?(b1|[iuf](1|2|4|8|12|16)|c(8|16|24|32)|[SUV]\d{1,9}|[mM]8(\[\d{0,9}[a-zA-Z]{1,7}\])?)", re.ASCII
)


class MissingLibrary(LookupError):
    """The stored value needs a library that is not installed here."""


def take(value: Any) -> tuple[int, bytes] | None:
    """Return tag and bytes if ``value`` is an array or a frame, None if it is neither; may raise Unstorable."""
    kind = type(value)
    library, _, _ = kind.__module__.partition(".")
    match library, kind.__name__:
        case "numpy", "ndarray":
            return ext.ARRAY, _array_to_bytes(value)
        case "numpy", _ if hasattr(value, "dtype") and hasattr(value, "item"):
            return _scalar(value)
        case "pandas", "DataFrame":
            return ext.PANDAS_FRAME, _checked(value, _pandas_to_bytes(value), _pandas_of, _pandas_differs)
        case "pandas", "Series":
            return ext.PANDAS_SERIES, _checked(value, _series_to_bytes(value), _series_of, _series_differs)
        case "polars", "DataFrame":
            return ext.POLARS_FRAME, _checked(value, _polars_to_bytes(value), _polars_of, _polars_differs)
        case "polars", "Series":
            data = _polars_to_bytes(value.to_frame())
            return ext.POLARS_SERIES, _checked(value, data, _polars_series_of, _polars_series_differs)
        case "pyarrow", "Table":
            return ext.ARROW_TABLE, _table_to_bytes(value)
        case _:
            return None


def make(tag: int, data: bytes) -> Any:
    """Return the array or frame of an extension; raises MissingLibrary, or any error for other bytes."""
    return _MAKERS[tag](data)


def _library(name: str) -> Any:
    try:
        found = importlib.import_module(name)
    except ImportError as error:
        raise MissingLibrary(f"the value needs {name.partition('.')[0]}, which is not installed") from error
    if name == "pyarrow" and int(found.__version__.partition(".")[0]) < _SAFE_ARROW:
        raise MissingLibrary(f"the value needs pyarrow {_SAFE_ARROW} or newer")
    return found


# --- numpy ------------------------------------------------------------------------------------------------------------


def _describe(dtype: Any) -> Any:
    """Return what ``_dtype_of`` rebuilds the dtype from: its letter code, or the fields of a structured one."""
    if dtype.fields is None:
        code = dtype.str
        if dtype.subdtype is not None or not _DTYPE.fullmatch(code):
            raise Unstorable(f"has the dtype {dtype}, which holds more than numbers, texts and times")
        return code
    fields = []
    for name in dtype.names:
        field, offset, *title = dtype.fields[name]
        if title:
            raise Unstorable(f"has a dtype whose field {name!r} has a title")
        base, shape = field.subdtype or (field, ())
        fields.append([name, _describe(base), list(shape), offset])
    return [fields, dtype.itemsize, dtype.isalignedstruct]


def _dtype_of(stored: Any) -> Any:
    numpy = _library("numpy")
    if isinstance(stored, str):
        if not _DTYPE.fullmatch(stored):
            raise ValueError("no dtype")
        return numpy.dtype(stored)
    fields, itemsize, aligned = stored
    if itemsize > 1 << 20:
        raise ValueError("no dtype")
    spec = {
        "names": [name for name, _, _, _ in fields],
        "formats": [(_dtype_of(base), tuple(shape)) if shape else _dtype_of(base) for _, base, shape, _ in fields],
        "offsets": [offset for _, _, _, offset in fields],
        "itemsize": itemsize,
    }
    return numpy.dtype(spec, align=aligned)


def _array_to_bytes(value: Any) -> bytes:
    described = _describe(value.dtype)
    order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    return ormsgpack.packb([described, list(value.shape), order, value.tobytes(order)])


def _array_of(data: bytes) -> Any:
    described, shape, order, raw = ormsgpack.unpackb(data)
    dtype = _dtype_of(described)
    if prod(shape) * dtype.itemsize != len(raw) or any(length < 0 for length in shape) or order not in {"C", "F"}:
        raise ValueError("an array of another size than it declares")
    numpy = _library("numpy")
    if dtype.itemsize == 0:
        return numpy.zeros(shape, dtype, order)
    return numpy.frombuffer(bytearray(raw), dtype).reshape(shape, order=order)


def _scalar(value: Any) -> tuple[int, bytes] | None:
    numpy = _library("numpy")
    if not isinstance(value, numpy.generic) or value.dtype.type is not type(value):
        return None
    return ext.SCALAR, ormsgpack.packb([_describe(value.dtype), value.tobytes()[: value.dtype.itemsize]])


def _scalar_of(data: bytes) -> Any:
    described, raw = ormsgpack.unpackb(data)
    dtype = _dtype_of(described)
    if dtype.itemsize != len(raw):
        raise ValueError("a number of another size than it declares")
    numpy = _library("numpy")
    return numpy.zeros((), dtype)[()] if dtype.itemsize == 0 else numpy.frombuffer(raw, dtype)[0]


# --- frames -----------------------------------------------------------------------------------------------------------


def _checked(value: Any, data: bytes, read: Any, differs: Any) -> bytes:
    """Return ``data`` if reading it yields ``value``; Arrow has fewer types than the frames it is asked to keep."""
    try:
        reason = differs(value, read(data))
    except Exception as error:
        raise Unstorable(f"does not survive Arrow: {error}") from error
    if reason:
        raise Unstorable(f"does not survive Arrow: {reason}")
    return data


def _table_to_bytes(table: Any) -> bytes:
    pyarrow = _library("pyarrow")
    ipc = _library("pyarrow.ipc")
    sink = pyarrow.BufferOutputStream()
    try:
        with ipc.new_stream(sink, table.schema) as writer:
            if table.num_rows:
                writer.write_table(table)
            else:  # without a batch the categories of a column would be lost
                columns = [column.combine_chunks() for column in table.columns]
                writer.write_batch(pyarrow.RecordBatch.from_arrays(columns, schema=table.schema))
    except pyarrow.ArrowException as error:
        raise Unstorable(f"is more than Arrow IPC holds: {error}") from error
    done: bytes = sink.getvalue().to_pybytes()
    return done


def _table_of(data: bytes) -> Any:
    _library("pyarrow")
    with _library("pyarrow.ipc").open_stream(data) as reader:
        return reader.read_all()


def _pandas_to_bytes(frame: Any) -> bytes:
    try:
        pyarrow = _library("pyarrow")
    except MissingLibrary:
        raise Unstorable("needs pyarrow to be stored: install it") from None
    if frame.attrs or any(type(name) is not str for name in frame.columns):
        raise Unstorable("has attrs, or column names that are no texts")
    try:
        table = pyarrow.Table.from_pandas(frame)
    except (pyarrow.ArrowException, ValueError, TypeError, KeyError) as error:
        raise Unstorable(f"does not survive Arrow: {error}") from error
    return _table_to_bytes(table)


def _pandas_of(data: bytes) -> Any:
    _library("pandas")
    return _table_of(data).to_pandas()


def _pandas_differs(one: Any, two: Any) -> str:
    if not (one.dtypes.equals(two.dtypes) and one.columns.equals(two.columns)):
        return "its dtypes or columns change"
    if type(one.index) is not type(two.index) and len(one.index):
        return f"its index becomes a {type(two.index).__name__}"
    if not one.index.equals(two.index) or one.index.names != two.index.names or one.columns.names != two.columns.names:
        return "its index changes"
    for name in one.columns:
        if one[name].dtype == object and [*map(type, one[name])] != [*map(type, two[name])]:
            return f"the column {name!r} holds objects of types that change"
    return "" if one.equals(two) else "values change"


def _series_to_bytes(series: Any) -> bytes:
    head = ormsgpack.packb([series.name])  # a name that is no plain value is refused right here
    return len(head).to_bytes(4, "little") + head + _pandas_to_bytes(series.to_frame("value"))


def _series_of(data: bytes) -> Any:
    end = 4 + int.from_bytes(data[:4], "little")
    series = _pandas_of(data[end:])["value"]
    (series.name,) = ormsgpack.unpackb(data[4:end])
    return series


def _series_differs(one: Any, two: Any) -> str:
    if type(one.name) is not type(two.name) or one.name != two.name:
        return "its name changes"
    return _pandas_differs(one.to_frame("value"), two.to_frame("value"))


def _polars_to_bytes(frame: Any) -> bytes:
    if any(str(dtype).startswith("Object") for dtype in frame.dtypes):
        raise Unstorable("has a column of Python objects")
    sink = io.BytesIO()
    frame.write_ipc(sink)
    return sink.getvalue()


def _polars_of(data: bytes) -> Any:
    return _library("polars").read_ipc(io.BytesIO(data))


def _polars_differs(one: Any, two: Any) -> str:
    return "" if one.schema == two.schema and one.equals(two, null_equal=True) else "values or dtypes change"


def _polars_series_of(data: bytes) -> Any:
    return _polars_of(data).to_series(0)


def _polars_series_differs(one: Any, two: Any) -> str:
    return _polars_differs(one.to_frame(), two.to_frame())


_MAKERS = {
    ext.ARRAY: _array_of,
    ext.SCALAR: _scalar_of,
    ext.PANDAS_FRAME: _pandas_of,
    ext.PANDAS_SERIES: _series_of,
    ext.POLARS_FRAME: _polars_of,
    ext.POLARS_SERIES: _polars_series_of,
    ext.ARROW_TABLE: _table_of,
}
TAGS = frozenset(_MAKERS)
