"""The verifier in JavaScript that docs/INTERFACE.md has, with the library that it names, on Node."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from reportd.adapters.jwt_signer import JwtSigner
from tests.documents.verifiers import PAGE, check, source
from tests.engines.brought import jose
from tests.servers.keys import serving_keys

DRIVER = """
import { createInterface } from "node:readline";
import { verified } from "./verifier.mjs";

for await (const line of createInterface({ input: process.stdin })) {
  const { token, params, later } = JSON.parse(line);
  if (later) { const before = Date.now; Date.now = () => before() + later * 1000; }
  const answer = later ? {} : await verified(token, params).catch((error) => ({ refused: String(error) }));
  process.stdout.write(JSON.stringify(answer) + "\\n");
}
"""


class NodeVerifier:
    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def ask(self, **question: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(orjson.dumps(question) + b"\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = orjson.loads(self._process.stdout.readline())
        return answer

    def claims(self, token: str, params: str) -> dict[str, Any] | None:
        answer = self.ask(token=token, params=params)
        return None if "refused" in answer else answer

    def later(self, seconds: float) -> None:
        self.ask(later=seconds)


@contextmanager
def node_verifier(folder: Path, address: str, page: str = PAGE) -> Iterator[NodeVerifier]:
    """``folder`` gets the program. ``address``: where it asks for keys; ``page``: the origin it is for."""
    (folder / "node_modules").mkdir()
    (folder / "node_modules" / "jose").symlink_to(jose())
    (folder / "verifier.mjs").write_text(source("js", address, page))
    (folder / "driver.mjs").write_text(DRIVER)
    pipe = subprocess.PIPE
    with subprocess.Popen(["node", "driver.mjs"], cwd=folder, stdin=pipe, stdout=pipe) as process:
        yield NodeVerifier(process)
        assert process.stdin is not None
        process.stdin.close()


def test_the_verifier_in_javascript_does_what_the_document_says(tmp_path: Path) -> None:
    signer = JwtSigner("reportd")
    with serving_keys(signer.public_keys) as address, node_verifier(tmp_path, address) as verifier:
        check(verifier, signer)
