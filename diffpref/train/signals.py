"""Being asked to stop: the first signal is a request, the second is obeyed at once."""

import os
import signal
from collections.abc import Callable
from types import FrameType, TracebackType

_Handler = Callable[[int, FrameType | None], object] | int | None
_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name)
)


class StopSignals:
    """Context manager that turns SIGTERM, SIGINT and SIGUSR1 into a flag the loop reads.

    The loop saves at its next step and ends with exit 75. A second signal ends the process
    immediately with 128 + its number, which is safe because a save is atomic. Use it in the main
    thread. Data workers forked inside it end on SIGTERM and ignore the others, so that the
    terminal's Ctrl-C, which reaches every process, does not break the last save.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._owner = os.getpid()
        self._before: dict[int, _Handler] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has asked the run to stop."""
        return self.received is not None

    def __enter__(self) -> "StopSignals":
        """Install the handlers.

        Raises:
            ValueError: not in the main thread.
        """
        self._owner = os.getpid()
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the previous handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if os.getpid() != self._owner:
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        if self.received is not None:
            os._exit(128 + number)
        self.received = signal.Signals(number).name
