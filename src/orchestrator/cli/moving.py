"""Executions on the move: `export`, `import` and `copy`."""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import click

from orchestrator.cli import output
from orchestrator.cli.common import Command, Common, pass_common
from orchestrator.cli.completing import complete_execution
from orchestrator.cli.inspect import STATUSES
from orchestrator.cli.output import plural, size
from orchestrator.errors import StoreError, StoreUnavailable, UsageError
from orchestrator.settings import store_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from orchestrator.domain.ids import ExecutionId
    from orchestrator.ports.store import Store
    from orchestrator.settings import Settings
    from orchestrator.state.moving import Mover, Outcome

executions_argument = click.argument(
    "executions", nargs=-1, metavar="[EXECUTION]...", shell_complete=complete_execution
)


@click.command(
    "export",
    cls=Command,
    examples=(
        "orchestrator export exec_1a2b3c > flight.orc",
        "orchestrator export --all --pipeline-id flights --status completed -o flights.orc",
    ),
)
@executions_argument
@click.option("--all", "everything", is_flag=True, help="Every execution that the other options do not exclude.")
@click.option("--pipeline-id", metavar="ID", help="With --all: only executions of this pipeline.")
@click.option("--status", type=click.Choice(STATUSES), help="With --all: only executions of this status.")
@click.option("-o", "--output", "file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="The file; appears under its name once it is whole. Stdout if not given.")  # fmt: skip
@click.option("--unencrypted", is_flag=True, help="Write a file that anybody can read, whatever keys are configured.")
@pass_common
async def export_command(
    common: Common,
    *,
    executions: tuple[str, ...],
    everything: bool,
    pipeline_id: str | None,
    status: str | None,
    file: Path | None,
    unencrypted: bool,
) -> int:
    """Write executions into a file.

    With their facts and values, to be kept or to be read by `orchestrator import`; sealed as the store is. Of one that
    is running goes along what is recorded at that moment. Logs and tables on the disk stay where they are.
    """
    from orchestrator.state.archive import ArchiveWriter
    from orchestrator.state.opening import sealing_of
    from orchestrator.state.parcels import StoredParcel, survey
    from orchestrator.state.records import PLAIN

    settings = common.settings()
    if everything == bool(executions):
        raise UsageError("say which executions: their ids, or --all")
    if (pipeline_id is not None or status is not None) and not everything:
        raise UsageError("--pipeline-id and --status choose among all: say --all")
    if file is None and output.is_terminal(sys.stdout):
        raise UsageError("a terminal cannot show such a file: say -o FILE, or redirect the output")
    failures = _Failures()
    async with _opened(settings) as store:
        chosen = await _chosen(store, executions, pipeline_id, status)
        with _written(file) as target:
            writer = ArchiveWriter(target, PLAIN if unencrypted else sealing_of(settings))
            done = 0
            for name in chosen:
                with failures.kept(name):
                    await writer.add(StoredParcel(store, await survey(store, name)))
                    done += 1
            writer.close()
    output.tell(f"exported {plural(done, 'execution')}, {size(writer.size)}")
    return failures.exit_code


@click.command(
    "import",
    cls=Command,
    examples=("orchestrator import flights.orc", "orchestrator import - --store sqlite:///other.db"),
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--unencrypted", is_flag=True, help="Read a file that was exported with --unencrypted.")
@pass_common
async def import_command(common: Common, *, file: Path, unencrypted: bool) -> int:
    """Read executions from a file into the store.

    The whole file is verified before anything is written; each execution is taken whole or refused, and read back. One
    that is there already and the same is left alone, one that differs is refused.
    """
    from orchestrator.state.opening import sealing_of
    from orchestrator.state.records import PLAIN
    from orchestrator.state.unpacking import ArchiveReader

    settings = common.settings()
    failures = _Failures()
    with _read(file) as source:
        reader = ArchiveReader(source, PLAIN if unencrypted else sealing_of(settings), str(file))
        contents = reader.contents()
        for refused in contents.refused:
            failures.add(refused.execution_id, refused.error)
        async with _opened(settings, make=True) as store:
            with _mover(store, settings) as mover:
                for parcel in contents.parcels:
                    with failures.kept(parcel.manifest.execution_id):
                        _report(parcel.manifest.execution_id, await mover.put(parcel), "imported")
    return failures.exit_code


@click.command(
    "copy",
    cls=Command,
    examples=(
        "orchestrator copy --to postgresql://db/runs exec_1a2b3c",
        "orchestrator copy --from sqlite:///old.db --to sqlite:///new.db",
        "orchestrator copy --to postgresql://db/runs --move exec_1a2b3c",
    ),
)
@executions_argument
@click.option("--from", "source_url", metavar="URL", help="The store to copy from; the configured one if not given.")
@click.option("--to", "target_url", metavar="URL", help="The store to copy to; the configured one if not given.")
@click.option("--move", is_flag=True, help="Remove each execution from where it was, once its copy is verified.")
@click.option("--from-blobs", metavar="URL", help="Where the first store keeps large values, if it is not configured.")
@click.option("--to-blobs", metavar="URL", help="Where the second store keeps large values, if it is not configured.")
@click.option("--unencrypted-source", is_flag=True, help="Read plain records, whatever keys are configured.")
@click.option("--unencrypted-target", is_flag=True, help="Write plain records, whatever keys are configured.")
@pass_common
async def copy_command(  # noqa: PLR0913 - they are the options of a command, given by name
    common: Common,
    *,
    executions: tuple[str, ...],
    source_url: str | None,
    target_url: str | None,
    move: bool,
    from_blobs: str | None,
    to_blobs: str | None,
    unencrypted_source: bool,
    unencrypted_target: bool,
) -> int:
    """Copy or move executions from one store to another.

    All of them, if none is named. Each is copied whole or not at all, and read back. With --move nobody can go on with
    it meanwhile, and one that is being worked on is refused. Logs and tables on the disk stay where they are.
    """
    from orchestrator.state.parcels import StoredParcel, survey

    settings = common.settings()
    source_settings = _side(settings, source_url, from_blobs)
    target_settings = _side(settings, target_url, to_blobs)
    failures = _Failures()
    async with (
        _opened(source_settings, encrypted=not unencrypted_source) as source,
        _opened(target_settings, encrypted=not unencrypted_target, make=True) as target,
    ):
        if source.url == target.url:
            raise UsageError("both are the same store: say --from URL or --to URL")
        with _mover(source, settings) as holder, _mover(target, settings) as mover:
            for name in await _chosen(source, executions, None, None):
                with failures.kept(name):
                    if move:
                        outcome = await mover.move(source, holder, name)
                    else:
                        outcome = await mover.put(StoredParcel(source, await survey(source, name)))
                    _report(name, outcome, "moved" if move else "copied")
    return failures.exit_code


# -- stores and files --------------------------------------------------------------------------------------------


def _side(settings: Settings, url: str | None, blobs: str | None) -> Settings:
    """Return the settings of one side: the configured place of large values is that of the configured store."""
    named = settings.store if url is None else store_url(url)
    if named == settings.store:
        return settings if blobs is None else replace(settings, blobs=blobs)
    return replace(settings, store=named, blobs=blobs or "")


@asynccontextmanager
async def _opened(settings: Settings, *, encrypted: bool = True, make: bool = False) -> AsyncIterator[Store]:
    """Open a store; one that is not there yet only if it may be made, to be written by a Mover.

    That demands by itself that the last commit of an execution is durable; the others need not be, one by one.
    """
    from orchestrator.core.system import SystemChance, SystemClock
    from orchestrator.state.masking import mask
    from orchestrator.state.opening import options_of
    from orchestrator.state.url import open_store, store_file

    file = store_file(settings.store, project=settings.project)
    if not make and file is not None and not file.exists():
        raise StoreError(f"there is no store at {mask(settings.store)}")
    if make:
        settings = replace(settings, durability="process")
    store = open_store(settings.store, options_of(settings, SystemClock(), SystemChance(), encrypted=encrypted))
    try:
        yield store
    finally:
        await store.close()


@contextmanager
def _mover(store: Store, settings: Settings) -> Iterator[Mover]:
    from orchestrator.core.ledger import describe_owner
    from orchestrator.core.system import SystemClock
    from orchestrator.state.moving import Mover

    clock = SystemClock()
    mover = Mover(store, clock, describe_owner(clock.now()), settings.lease)
    try:
        yield mover
    finally:
        mover.close()


async def _chosen(
    store: Store, executions: Sequence[str], pipeline_id: str | None, status: str | None
) -> list[ExecutionId]:
    """Return the executions that are meant, oldest first where none is named, each behind those its steps started.

    So one that is to go on elsewhere finds its children there.
    """
    from orchestrator.core.family import children_first, parents
    from orchestrator.domain.ids import execution_id

    there = await store.summaries()
    if executions:
        named = list(dict.fromkeys(execution_id(name) for name in executions))
    else:
        found = [each for each in reversed(there) if pipeline_id in (None, each.pipeline_id)]
        named = [each.execution_id for each in found if status is None or each.shown().status.value == status]
    return children_first(named, await parents(store, there))


@contextmanager
def _written(path: Path | None) -> Iterator[BinaryIO]:
    """Lend the file to write; one with a name appears under it whole and durable, or not at all."""
    if path is None:
        yield sys.stdout.buffer
        return
    import os

    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            try:
                yield cast("BinaryIO", file)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be written: {error.strerror or error}") from error


@contextmanager
def _read(path: Path) -> Iterator[BinaryIO]:
    """Lend the file to read; what comes through a pipe is first kept in a temporary one, for it is read twice."""
    try:
        if str(path) == "-":
            with tempfile.TemporaryFile() as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
                yield cast("BinaryIO", file)
        else:
            with path.open("rb") as file:
                yield file
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be read: {error.strerror or error}") from error


class _Failures:
    """What went wrong with single executions, told at once; the first one decides about the exit code."""

    def __init__(self) -> None:
        self.exit_code = 0

    def add(self, execution_id: str, error: StoreError | UsageError) -> None:
        """Tell a failure."""
        self.exit_code = self.exit_code or error.exit_code
        output.tell(output.clean(f"refused {execution_id or 'a part of it'}: {error}"))

    @contextmanager
    def kept(self, execution_id: str) -> Iterator[None]:
        """Within: what is wrong with this execution does not end the others. A store or file that fails does."""
        try:
            yield
        except StoreUnavailable:
            raise
        except (StoreError, UsageError) as error:
            self.add(execution_id, error)


def _report(execution_id: str, outcome: Outcome, verb: str) -> None:
    from orchestrator.state.moving import Outcome as Known

    output.say(f"{verb} {execution_id}" if outcome is Known.COPIED else f"{execution_id} was there already")
