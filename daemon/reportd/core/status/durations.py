"""Durations in words, as the status page shows them. ``static/status.js`` formats them in the same way."""

_STEPS = ((86400, "d"), (3600, "h"), (60, "min"))


def format_duration(seconds: float) -> str:
    """Return a duration in at most two units: ``14 s``, ``3 min``, ``2 h 5 min``, ``4 d 3 h``. Below 0 it is 0 s."""
    left = max(0, int(seconds))
    for index, (size, unit) in enumerate(_STEPS):
        whole, rest = divmod(left, size)
        if whole:
            finer_size, finer = _STEPS[index + 1] if index + 1 < len(_STEPS) else (0, "")
            part = rest // finer_size if finer_size else 0
            return f"{whole} {unit} {part} {finer}" if part else f"{whole} {unit}"
    return f"{left} s"
