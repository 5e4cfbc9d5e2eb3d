"""Trying cases in the process that asks for it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from radialbench.errors import BackendError
from radialbench.kernels.arch import find_device
from radialbench.kernels.backend import BACKENDS
from radialbench.kernels.environment import environment
from radialbench.suites.common import Common
from radialbench.suites.finding import Begins, Finding, Step
from radialbench.suites.plan import Case
from radialbench.suites.tables import Tables
from radialbench.suites.together import attempt_batch


class InProcess:
    """Tries cases in this process, which a case can then crash or hold up.

    Attributes:
        environment: What the cases run in.
    """

    def __init__(
        self,
        device: str,
        command: str,
        *,
        tables: Path | None = None,
        backends: Mapping[str, str] = BACKENDS,
    ) -> None:
        self.environment = environment(command, device=_present(device))
        self._tables, self._common = Tables(tables), Common(backends)

    def __enter__(self) -> "InProcess":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to end."""

    def attempt(self, cases: Sequence[Case], begins: Callable[[Case], None]) -> list[Finding]:
        """Try the cases of a batch; `begins` is told of each."""

        def tell(step: Step) -> None:
            if isinstance(step, Begins):
                begins(cases[step.place])

        return self.steps(cases, tell)

    def steps(self, cases: Sequence[Case], tell: Callable[[Step], None]) -> list[Finding]:
        """Try the cases of a batch; `tell` is told every step."""
        return attempt_batch(cases, self._tables, self._common, tell)


def _present(device: str) -> str:
    """Give the device; the CPU without the one asked for, where cases only say unsupported."""
    try:
        return find_device(device)
    except BackendError:
        return "cpu"
