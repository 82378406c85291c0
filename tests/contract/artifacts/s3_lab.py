"""A bucket of S3 for the artifacts suite, on moto."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx

from reportd.adapters.artifacts.s3 import open_s3_artifacts
from reportd.ports import LocalPdf
from tests.contract.artifacts.artifacts_lab import SMALL_BYTES, ArtifactsLab
from tests.servers.aws import ask_s3, new_bucket
from tests.servers.faulty_proxy import Forward, Request, Response, answer, open_proxy


@asynccontextmanager
async def open_s3_lab(server: str) -> AsyncIterator[ArtifactsLab]:
    """S3 is never full, but may refuse to take more: the way to it does so for large objects."""
    bucket = new_bucket(server)
    refusing = False

    async def refuse_large(request: Request, forward: Forward) -> Response:
        large = refusing and int(request.headers["content-length"]) > SMALL_BYTES
        return await (answer(503, "SlowDown")(request, forward) if large else forward(request))

    @contextmanager
    def full() -> Iterator[None]:
        nonlocal refusing
        refusing = True
        try:
            yield
        finally:
            refusing = False

    def read(where: LocalPdf | str) -> bytes:
        return httpx.get(str(where), trust_env=False).raise_for_status().content

    def names() -> list[str]:
        listing = ask_s3(server, "GET", bucket).text + ask_s3(server, "GET", f"{bucket}?uploads").text
        return re.findall("<Key>([^<]*)</Key>", listing)

    async with (
        open_proxy(server) as proxy,
        open_s3_artifacts(bucket, "reports", presign_seconds=900.0, endpoint_url=proxy.url) as store,
    ):
        proxy.plan("PutObject", *[refuse_large] * 100)
        yield ArtifactsLab(store, read, names, full, atomic=False)  # moto takes two steps
