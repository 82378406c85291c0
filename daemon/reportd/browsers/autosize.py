"""Sizes the pool by the backlog and the free memory. ``core.capacity.scaling`` decides."""

from collections.abc import Awaitable, Callable

import structlog
import trio

from reportd.browsers.pool import Pool
from reportd.core.capacity.scaling import Size, SizePolicy, browsers_wanted
from reportd.ports import Depth, UnavailableError
from reportd.system.memory import free_mib

log = structlog.get_logger()

CHECK_SECONDS = 5.0


async def autosize_pool(
    pool: Pool,
    depth: Callable[[], Awaitable[Depth]],
    policy: SizePolicy,
    free: Callable[[], float] = free_mib,
) -> None:
    """Grow and shrink the pool, one browser at a time. Return at once when the policy allows one size only.

    The queue is asked only when every slot is taken. ``free``: returns the free memory in MiB.
    """
    if policy.least == policy.most:
        return
    idle_since = trio.current_time()
    while True:
        await trio.sleep(CHECK_SECONDS)
        state = pool.state()
        if state.slots - state.busy < policy.pages_per_browser:
            idle_since = trio.current_time()
        size = Size(
            browsers=pool.size,
            busy=state.busy,
            backlog=await _backlog(depth) if state.busy >= state.slots else 0,
            idle_seconds=trio.current_time() - idle_since,
            free_mib=free(),
        )
        wanted = browsers_wanted(size, policy)
        if wanted != size.browsers:
            log.info("pool.resized", browsers=wanted, backlog=size.backlog, freeMib=round(size.free_mib))
            await pool.resize(wanted)
            idle_since = trio.current_time()


async def _backlog(depth: Callable[[], Awaitable[Depth]]) -> int:
    try:
        return (await depth()).visible
    except UnavailableError:
        return 0
