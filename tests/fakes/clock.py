"""The time that all fakes go by, and the daemon under test with them: trio's, which a test replaces by a mock one."""

import trio

EPOCH = 1_750_000_000.0


def now() -> float:
    """Wall time, as far as the daemon under test is concerned."""
    return EPOCH + trio.current_time()
