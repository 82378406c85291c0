"""Whether a browser understands the conditions that pages are waited for with.

JavaScript is compiled and not run, and a selector is asked of an empty document.
"""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import trio

from reportd.adapters.chromium.browser import FLAGS, find_executable
from reportd.adapters.chromium.process.process import open_process, open_run_folder
from reportd.adapters.chromium.protocol.cdp import Cdp, CdpError, ClosedError, open_cdp
from reportd.concurrency.nurseries import sole_exception
from reportd.ports import BrowserError, Ready

ANSWER_SECONDS = 10.0

_SELECT = "document.createDocumentFragment().querySelector(%s)"


async def misunderstood(conditions: Collection[Ready], executable: str, start_seconds: float) -> Mapping[Ready, str]:
    """What a browser, which is started for it, says of those that it does not understand. Raises BrowserError."""
    command = [find_executable(executable), *FLAGS]
    if os.geteuid() == 0:
        command.append("--no-sandbox")
    try:
        with TemporaryDirectory(prefix="reportd-") as folder:
            async with (
                open_run_folder(Path(folder) / "browsers") as run_folder,
                open_process(command, run_folder, start_seconds) as process,
                open_cdp(process.said, process.told) as browser,
            ):
                return await _asked(browser, conditions)
    except (BaseExceptionGroup, CdpError, ClosedError, OSError, trio.TooSlowError) as failure:
        error = sole_exception(failure)
        if isinstance(error, CdpError | ClosedError | OSError | trio.TooSlowError):
            raise BrowserError(f"the browser gave no answer: {error or type(error).__name__}") from error
        raise error from None


async def _asked(browser: Cdp, conditions: Collection[Ready]) -> Mapping[Ready, str]:
    with trio.fail_after(ANSWER_SECONDS):
        target = await browser.call("Target.createTarget", url="about:blank")
        page = await browser.attach(target["targetId"])
        try:
            await page.call("Runtime.enable")
            said = {condition: await _said(page, condition) for condition in conditions}
        finally:
            page.end()
    return {condition: words for condition, words in said.items() if words}


async def _said(page: Cdp, condition: Ready) -> str:
    if condition.kind == "selector":
        script = _SELECT % json.dumps(condition.argument)
        return _words(await page.call("Runtime.evaluate", expression=script, returnByValue=True))
    # As it is used: awaited, and one expression.
    script = f"(async () => (\n{condition.argument}\n))"
    return _words(await page.call("Runtime.compileScript", expression=script, sourceURL="", persistScript=False))


def _words(answer: Mapping[str, Any]) -> str:
    details = answer.get("exceptionDetails")
    if details is None:
        return ""
    exception = details.get("exception", {})
    return str(exception.get("description") or details["text"]).splitlines()[0]
