"""Where the values of secrets come from, and how what is kept is rid of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from orchestrator.domain.redaction import Redactor
from orchestrator.errors import TaskError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.domain.pipeline import Pipeline
    from orchestrator.domain.secret import SecretUse


class Secrets(Protocol):
    """Values of secrets by name. They leave it for the parameters of a call only, and are known to ``redactor`` before.

    A value is looked up anew for each attempt: whoever rotates a secret need not restart anything.
    """

    redactor: Redactor

    def uses(self, pipeline: Pipeline) -> Sequence[SecretUse]:
        """Return every place where a pipeline names a secret, in order; looks nothing up."""

    def demand(self, uses: Sequence[SecretUse], pipeline: Pipeline, inputs: Mapping[str, Any]) -> None:
        """Look up every secret that a pipeline names, before anything of it runs; may take a while, any thread.

        Raises SecretsMissing with all that are not found or cannot be used, and UsageError where the definition or
        the inputs hold the value of one.
        """

    def value(self, name: str) -> str:
        """Return a secret's value as it is now; raises TaskError (kind ``secret``) if there is none any more."""


class NoSecrets:
    """Secrets where nobody has provided for any."""

    redactor: Redactor = Redactor()

    def uses(self, pipeline: Pipeline) -> Sequence[SecretUse]:
        """Return nothing: a step that names a secret fails when its tool is called."""
        del pipeline
        return ()

    def demand(self, uses: Sequence[SecretUse], pipeline: Pipeline, inputs: Mapping[str, Any]) -> None:
        """Demand nothing."""

    def value(self, name: str) -> str:
        """Raise TaskError."""
        raise TaskError(f"there is no secret {name}: none are provided for here", kind="secret", retryable=False)


NO_SECRETS: Final[Secrets] = NoSecrets()
"""The one object of its kind."""
