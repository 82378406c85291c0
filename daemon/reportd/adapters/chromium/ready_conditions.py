"""Checks ready conditions of the configuration in a real browser.

JavaScript is compiled but not run; a selector is tried on an empty document.
"""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import trio

from reportd.adapters.chromium.browser import FLAGS, find_executable
from reportd.adapters.chromium.process.process import open_process
from reportd.adapters.chromium.process.run_folder import open_run_folder
from reportd.adapters.chromium.protocol.cdp import Cdp, CdpError, ClosedError, open_cdp
from reportd.concurrency.nurseries import sole_exception
from reportd.ports import BrowserError, Ready

ANSWER_SECONDS = 10.0

_SELECT = "document.createDocumentFragment().querySelector(%s)"


async def invalid_conditions(
    conditions: Collection[Ready], executable: str, start_seconds: float
) -> Mapping[Ready, str]:
    """Return the browser's error for each invalid condition. Starts a browser of its own. Raises BrowserError."""
    command = [find_executable(executable), *FLAGS]
    if os.geteuid() == 0:
        command.append("--no-sandbox")
    try:
        with TemporaryDirectory(prefix="reportd-") as folder:
            async with (
                open_run_folder(Path(folder) / "browsers") as run_folder,
                open_process(command, run_folder, start_seconds) as process,
                open_cdp(process.read_fd, process.write_fd) as browser,
            ):
                return await _check_all(browser, conditions)
    except (BaseExceptionGroup, CdpError, ClosedError, OSError, trio.TooSlowError) as failure:
        error = sole_exception(failure)
        if isinstance(error, CdpError | ClosedError | OSError | trio.TooSlowError):
            raise BrowserError(f"the browser gave no answer: {error or type(error).__name__}") from error
        raise error from None


async def _check_all(browser: Cdp, conditions: Collection[Ready]) -> Mapping[Ready, str]:
    with trio.fail_after(ANSWER_SECONDS):
        target = await browser.call("Target.createTarget", url="about:blank")
        page = await browser.attach(target["targetId"])
        try:
            await page.call("Runtime.enable")
            errors = {condition: await _check(page, condition) for condition in conditions}
        finally:
            page.end()
    return {condition: error for condition, error in errors.items() if error}


async def _check(page: Cdp, condition: Ready) -> str:
    if condition.kind == "selector":
        script = _SELECT % json.dumps(condition.argument)
        return _error_text(await page.call("Runtime.evaluate", expression=script, returnByValue=True))
    # Compiled in the form in which it is used: one awaited expression.
    script = f"(async () => (\n{condition.argument}\n))"
    return _error_text(await page.call("Runtime.compileScript", expression=script, sourceURL="", persistScript=False))


def _error_text(answer: Mapping[str, Any]) -> str:
    details = answer.get("exceptionDetails")
    if details is None:
        return ""
    exception = details.get("exception", {})
    return str(exception.get("description") or details["text"]).splitlines()[0]
