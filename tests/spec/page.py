"""The code blocks of the spec page, word for word, and a way to run them as they stand."""

# ruff: noqa: W293 - the page has blanks on some empty lines

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from typing import Any

RESUME_STRATEGIES = """\
from orchestrator.core.pipeline_resume_manager import ResumeStrategy

# Configure resume behavior
strategy = ResumeStrategy(
    retry_failed_tasks=True,        # Retry tasks that failed
    reset_running_tasks=True,       # Reset tasks that were running
    preserve_completed_tasks=True,  # Keep completed task results
    max_retry_attempts=3,          # Maximum retries per task
    checkpoint_interval_seconds=60  # Checkpoint every minute
)
"""

BASIC_RESUME = """\
import orchestrator as orc

# Initialize and compile pipeline
orc.init_models()
pipeline = orc.compile("pipeline.yaml")

# Execute pipeline
try:
    result = await pipeline.run()
except Exception as e:
    print(f"Pipeline failed: {e}")
    
    # Resume from last checkpoint
    orchestrator = orc.Orchestrator()
    result = await orchestrator.resume_pipeline(execution_id)
"""

CUSTOM_RESUME_STRATEGY = """\
from orchestrator import Orchestrator, ResumeStrategy

# Create custom strategy
strategy = ResumeStrategy(
    retry_failed_tasks=True,
    max_retry_attempts=5,
    checkpoint_interval_seconds=30
)

orchestrator = Orchestrator()

# Resume with custom strategy
result = await orchestrator.resume_pipeline(
    execution_id="exec_123",
    resume_strategy=strategy
)
"""

CHECKING_RESUME_CAPABILITY = """\
# Check if execution can be resumed
can_resume = await orchestrator.resume_manager.can_resume("exec_123")

if can_resume:
    # Get resume state details
    pipeline, resume_state = await orchestrator.resume_manager.get_resume_state("exec_123")
    
    print(f"Completed tasks: {len(resume_state.completed_tasks)}")
    print(f"Failed tasks: {len(resume_state.failed_tasks)}")
"""

MANUAL_CHECKPOINTING = """\
# Create checkpoint during execution
checkpoint_id = await orchestrator.resume_manager.create_resume_checkpoint(
    execution_id="exec_123",
    pipeline=pipeline,
    completed_tasks={"task1", "task2"},
    task_results={
        "task1": {"output": "data1"},
        "task2": {"output": "data2"}
    },
    context={"user": "john_doe"},
    failed_tasks={"task3": 1}  # task3 failed once
)
"""

RESUME_HISTORY = """\
# Get resume history for a pipeline
history = await orchestrator.resume_manager.get_resume_history(
    pipeline_id="my_pipeline",
    limit=10
)

for entry in history:
    print(f"Checkpoint: {entry['checkpoint_id']}")
    print(f"Timestamp: {entry['timestamp']}")
    print(f"Progress: {entry['completed_count']}/{entry['total_count']}")
"""

YAML_CONFIGURATION = """\
id: resumable_pipeline
name: Pipeline with Resume Support
version: "1.0.0"

# Resume configuration
resume:
  enabled: true
  checkpoint_interval: 30  # seconds
  max_retries: 3
  retry_failed: true

steps:
  - id: data_fetch
    tool: filesystem
    action: read
    parameters:
      path: "data/input.csv"
    # Task-specific resume config
    resume:
      critical: true  # Always checkpoint after this task
      
  - id: process_data
    tool: data-processing
    # ...
"""

ERROR_HANDLING = """\
try:
    result = await pipeline.run()
except Exception as e:
    # Log error for debugging
    logger.error(f"Pipeline failed: {e}")
    
    # Check if resumable
    if await orchestrator.resume_manager.can_resume(execution_id):
        # Wait before retry (exponential backoff)
        await asyncio.sleep(retry_delay)
        
        # Resume with adjusted strategy
        strategy = ResumeStrategy(max_retry_attempts=5)
        result = await orchestrator.resume_pipeline(execution_id, strategy)
    else:
        # Start fresh if no checkpoint
        result = await pipeline.run()
"""

PERIODIC_CHECKPOINTING = """\
# Start automatic checkpointing
await orchestrator.resume_manager.start_periodic_checkpointing(
    execution_id="exec_123",
    pipeline=pipeline,
    get_state_func=lambda: get_current_state(),
    interval=30  # seconds
)

# Stop when done
await orchestrator.resume_manager.stop_periodic_checkpointing("exec_123")
"""

STATE_VALIDATION = """\
# Validate checkpoint before resume
if strategy.validate_checkpoint_integrity:
    pipeline, resume_state = await orchestrator.resume_manager.get_resume_state(execution_id)
    
    # Verify state consistency
    for task_id in resume_state.completed_tasks:
        if task_id not in pipeline.tasks:
            raise ValueError(f"Invalid checkpoint: unknown task {task_id}")
"""

DEBUG_MODE = """\
# Enable debug logging
import logging
logging.getLogger("orchestrator.resume_manager").setLevel(logging.DEBUG)

# Inspect checkpoint details
checkpoints = await orchestrator.state_manager.list_checkpoints(execution_id)
for cp in checkpoints:
    print(f"Checkpoint: {cp['checkpoint_id']}")
    print(f"Metadata: {cp['metadata']}")
"""

BLOCKS = {
    name: text
    for name, text in {**globals()}.items()
    if name.isupper() and isinstance(text, str) and text.endswith("\n")
}
"""Every block above, by its name."""


class _Scope(dict[str, Any]):
    """The names of a block; ``late`` makes those that exist only once the block has begun."""

    def __init__(self, names: dict[str, Any], late: dict[str, Callable[[dict[str, Any]], Any]]) -> None:
        super().__init__(names)
        self.late = late

    def __missing__(self, name: str) -> Any:
        if name not in self.late:
            raise KeyError(name)
        return self.late[name](self)


async def run(text: str, /, late: dict[str, Callable[[dict[str, Any]], Any]] | None = None, **names: Any) -> Any:
    """Run a block as it stands, with the names that it leaves open; return all its names as attributes of a dict."""
    scope = _Scope({"__name__": "page", **names}, late or {})
    code = compile(text, "spec.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    done = eval(code, scope)
    if inspect.isawaitable(done):
        await done
    return scope
