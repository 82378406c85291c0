"""Checks a bucket: PDFs are stored, read and removed as for a job."""

import hashlib
from uuid import uuid4

import httpx

from reportd.adapters.artifacts.s3_parameters import PART_BYTES
from reportd.core.jobs.job import Job
from reportd.ports import ArtifactStore, Pdf, UnavailableError

CHECK_SECONDS = 10.0


async def check_s3(store: ArtifactStore, subject: str) -> list[str]:
    """Store, read back and remove a PDF, small and in parts. Return the problems, each with what to do.

    It begins with an upload: an answer to HEAD has no body, so no code that tells a wrong clock from a wrong secret.
    """
    job = Job(f"check-{uuid4()}", "check", {}, "check", 0.0)
    try:
        for size_bytes in (1, PART_BYTES + 1):
            data = bytes(size_bytes)
            pdf = Pdf(size_bytes, hashlib.sha256(data).hexdigest(), data=data)
            await store.put(job, pdf)
            await _read_back(store, subject, job, data)
            if size_bytes == 1 and await store.put(job, pdf) != pdf.info:
                return [f"{subject}: a second upload took the place of the first"]
            await store.remove(job.task_id)
    except UnavailableError as error:
        return [str(error)]
    return []


async def _read_back(store: ArtifactStore, subject: str, job: Job, data: bytes) -> None:
    """Request a piece through the URL to which a client is redirected."""
    url = await store.locate(job)
    if url is None:
        raise UnavailableError("artifacts", f"{subject}: what has just been stored is not there")
    async with httpx.AsyncClient(timeout=CHECK_SECONDS) as client:
        try:
            answer = await client.get(str(url), headers={"Range": "bytes=0-0"})
        except httpx.HTTPError as error:
            # The text may hold the URL, which works like a key.
            text = f"{subject}: a presigned URL can't be reached ({type(error).__name__}): check endpoint_url"
            raise UnavailableError("artifacts", text) from None
    successful = answer.status_code in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT)
    if not successful or answer.content[:1] != data[:1]:
        text = f"{subject}: a presigned URL is answered with {answer.status_code}: see the bucket's policy"
        raise UnavailableError("artifacts", text)
