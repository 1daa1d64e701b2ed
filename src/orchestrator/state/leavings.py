"""What an execution leaves beside its store: the steps' logs, and tables without a place of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.settings import FOLDER_NAME
from orchestrator.state.url import store_file

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.settings import Settings


def log_folder(settings: Settings) -> Path:
    """Return the folder of the steps' logs: ``.orchestrator/logs``, or beside a store that lies elsewhere."""
    file = store_file(settings.store, project=settings.project)
    if file is None:
        return settings.project / FOLDER_NAME / "logs"
    return file.parent / "logs" if file.parent.name == FOLDER_NAME else file.with_name(f"{file.name}-logs")


def forget(settings: Settings, execution_id: str) -> None:
    """Remove what an execution left beside the store."""
    from orchestrator.observe.logs import forget_logs
    from orchestrator.tools.left import forget as forget_files

    forget_logs(log_folder(settings), execution_id)
    forget_files(settings.project, execution_id)
