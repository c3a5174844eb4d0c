"""One process at a time in a run's folder."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from dvs2s.errors import Dvs2sError, InUseError


class RunLock:
    """Holds a run's folder for this process while the ``with`` block lasts.

    The system gives the lock back when the process ends, however it ends; the file
    ``<run>/.lock`` stays and holds the number of its last owner.

    Args:
        run_dir: the run's folder; made where missing.
        name: of the file, where a folder needs several locks.
        wait: for another process to give the lock back, in place of an error.
    """

    def __init__(self, run_dir: Path, *, name: str = ".lock", wait: bool = False) -> None:
        self._run_dir, self._name, self._wait = Path(run_dir), name, wait
        self._descriptor: int | None = None

    def __enter__(self) -> "RunLock":
        """Takes the lock.

        Raises:
            InUseError: another process has it, which the message names.
            Dvs2sError: the folder cannot be made or written.
        """
        try:
            self._run_dir.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._run_dir / self._name, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise Dvs2sError(f"cannot use {self._run_dir}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if self._wait else fcntl.LOCK_NB))
        except OSError as error:
            owner = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            if not isinstance(error, BlockingIOError):
                raise Dvs2sError(f"cannot lock {self._run_dir}: {error.strerror}") from error
            raise InUseError(
                f"{self._run_dir} is in use by process {owner}: wait for it, stop it, or "
                "choose another run folder"
            ) from error
        with suppress(OSError):  # on a full disk the lock holds all the same, without its name
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        self._descriptor = descriptor
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Gives the lock back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
