"""Wakes the tasks that wait for a change."""

import trio


class Signal:
    """An event that is set and replaced. It keeps no state: a task that waits later waits for the next ``notify``."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def notify(self) -> None:
        """Wake every task that waits now."""
        event, self._event = self._event, trio.Event()
        event.set()

    async def wait(self) -> None:
        """Wait for the next ``notify``. Check the condition again afterwards."""
        await self._event.wait()

    def next(self) -> trio.Event:
        """Return the event of the next ``notify``. Take it before a check that awaits, so that no change is missed."""
        return self._event
