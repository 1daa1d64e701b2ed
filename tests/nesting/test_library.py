"""The library of pipelines in ``examples/library`` does what it says."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from orchestrator import Orchestrator
from orchestrator.compiler.compile import compile_file
from orchestrator.settings import load_settings
from tests.nesting.ground import names

EXAMPLE = Path(__file__).parents[2] / "examples" / "library"


async def test_the_library_sums_up_and_each_call_is_an_execution(tmp_path: Path) -> None:
    folder = shutil.copytree(EXAMPLE, tmp_path / "library")
    settings = replace(load_settings(cwd=folder), project=folder)
    async with Orchestrator("memory://library", settings=settings) as runner:
        pipeline = compile_file(folder / "pipeline.yaml", runner.tools, library=runner.library)
        result = await runner.run_pipeline(pipeline, execution_id="n")
        assert result.outputs == {"total": {"orders": 2, "net": 25.5}}
        assert set(await names(runner)) == {"n", "n~shop", "n~shop~orders", "n~shop~refunds"}
