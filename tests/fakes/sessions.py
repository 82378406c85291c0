"""EndedSession logins, in memory."""

from reportd.adapters.sql.stores.sessions import EVERY, MAX_OF_TOKEN
from reportd.ports import EndedSession
from tests.fakes.weather import Weather


class MemoryEndedSessions:
    """Implements ``ports.EndedSessions``."""

    def __init__(self, weather: Weather | None = None) -> None:
        self._weather = weather or Weather()
        self._rows: dict[tuple[str, str], tuple[float, float]] = {}

    async def end(self, token: str, session: str, at: float, until: float) -> None:
        async with self._weather.call("sessions", "end"):
            self._rows = {key: row for key, row in self._rows.items() if row[1] > at}
            if sum(key[0] == token for key in self._rows) >= MAX_OF_TOKEN:
                self._rows = {key: row for key, row in self._rows.items() if key[0] != token}
                session = EVERY
            self._rows.setdefault((token, session), (at, until))

    async def ended(self, at: float) -> list[EndedSession]:
        async with self._weather.call("sessions", "ended"):
            return [EndedSession(*key, row[0]) for key, row in sorted(self._rows.items()) if row[1] > at]
