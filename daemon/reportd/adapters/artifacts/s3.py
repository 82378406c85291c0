"""PDFs in a bucket of S3.

An object's key is a function of the task id, and an object is there whole or not at all: S3 shows nothing of an
upload before it is complete.

That the first PDF stays (I6) is the server's own doing: an upload has the condition that there is none yet. Where the
server refuses the condition, it is looked for one before. What is lost with it: two uploads of one job that overlap,
which takes a node that stood still for longer than its lease, both see none, and the later one stays. It is one object
at one key all the same; but the size and hash in the job's row may be those of the other rendering.
"""

import base64
import hashlib
import io
import secrets
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import structlog
import trio

from reportd.adapters.aws.client import open_client
from reportd.adapters.aws.errors import NOT_KNOWN, MissingError, RejectedError, in_words
from reportd.core.jobs.job import Job, timestamp
from reportd.ports import Pdf, PdfInfo, UnavailableError

log = structlog.get_logger()

PART_BYTES = 8388608
"""A larger PDF goes in parts of this size; S3 wants 5 MiB at least and 10,000 parts at most."""

IDENTITY = "store.id"
"""The object below the prefix that says which store it is."""

_CHUNK_BYTES = 262144

ABORT_SECONDS = 5.0
"""How long giving an upload up may take; then the bucket's lifecycle rule takes its parts away."""


CHECK_SECONDS = 10.0


class ConditionRefusedError(Exception):
    """The server does not take the condition of an upload."""


@asynccontextmanager
async def open_s3_artifacts(
    bucket: str,
    prefix: str = "",
    *,
    presign_seconds: float,
    region: str = "",
    endpoint_url: str = "",
    encryption: str = "",
) -> AsyncIterator["S3Artifacts"]:
    """``encryption``: "AES256", a KMS key id, or nothing for the bucket's default. Makes no request yet."""
    subject = f"s3://{bucket}"
    async with open_client("s3", "artifacts", region=region, endpoint_url=endpoint_url, subject=subject) as client:
        place = f"{endpoint_url}#s3://{bucket}/{prefix.strip('/')}"
        yield S3Artifacts(client, bucket, prefix, presign_seconds, encryption, place)


class S3Artifacts:
    """Implements ``ports.ArtifactStore``. Made by ``open_s3_artifacts``. ``requests`` counts by operation."""

    def __init__(
        self, client: Any, bucket: str, prefix: str, presign_seconds: float, encryption: str, place: str
    ) -> None:
        self.place = place
        self.requests: Counter[str] = Counter()
        self._client = client
        self._bucket = bucket
        self._subject = f"s3://{bucket}"
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._presign_seconds = presign_seconds
        self._encryption = _encryption(encryption)
        self._conditional = True

    def _key(self, task_id: str) -> str:
        return f"{self._prefix}{task_id[:2]}/{task_id}.pdf"

    # --- PDFs -----------------------------------------------------------------------------------------------

    async def put(self, job: Job, pdf: Pdf) -> PdfInfo:
        key = self._key(job.task_id)
        about = {
            "ContentType": "application/pdf",
            "ContentDisposition": f'inline; filename="{_file_name(job)}"',
            "Metadata": {
                "taskId": job.task_id,
                "reportType": job.report_type,
                "bytes": str(pdf.size_bytes),
                "sha256": pdf.sha256,
            },
            **self._encryption,
        }
        if not await self._put_first(key, pdf, about, conditional=self._conditional):
            return await self._stored(key)
        return pdf.info

    async def _put_first(self, key: str, pdf: Pdf, about: Mapping[str, Any], *, conditional: bool) -> bool:
        """Whether it is the one that is stored now: another one may have been there."""
        try:
            if not conditional and await self._exists(key):
                return False
            if pdf.size_bytes > PART_BYTES:
                await self._put_parts(key, pdf, about, conditional=conditional)
            else:
                data = await self._read(pdf, 0)
                await self._call("PutObject", Key=key, **_if_none(conditional=conditional), **_body(data), **about)
        except ConditionRefusedError as error:
            first = await self._put_first(key, pdf, about, conditional=False)
            if first:
                self._do_without_condition(error)
            return first
        except RejectedError:
            return False
        return True

    def _do_without_condition(self, error: ConditionRefusedError) -> None:
        """Once the same was taken without it: a server may refuse in the same words what is wrong with the rest."""
        if self._conditional:
            self._conditional = False
            log.warning("artifacts.condition_refused", bucket=self._bucket, error=str(error), instead="HEAD, then PUT")

    async def _stored(self, key: str) -> PdfInfo:
        try:
            head = await self._call("HeadObject", Key=key)
        except MissingError as error:
            raise UnavailableError("artifacts", f"{self._subject}: {key} has just been removed") from error
        try:
            return PdfInfo(int(head["Metadata"]["bytes"]), head["Metadata"]["sha256"])
        except (KeyError, ValueError):
            text = f"{self._subject}: at {key} is something that is no PDF of this daemon; remove it"
            raise UnavailableError("artifacts", text) from None

    async def _put_parts(self, key: str, pdf: Pdf, about: Mapping[str, Any], *, conditional: bool) -> None:
        """One part after the other, so that no more than one is in memory."""
        begun = await self._call("CreateMultipartUpload", Key=key, ChecksumAlgorithm="CRC32", **about)
        upload = {"Key": key, "UploadId": self._told(begun, "UploadId")}
        complete = False
        try:
            parts = []
            for number, start in enumerate(range(0, pdf.size_bytes, PART_BYTES), 1):
                data = await self._read(pdf, start)
                body = _body(data)
                part = await self._call("UploadPart", **upload, PartNumber=number, **body)
                checksum = body["ChecksumCRC32"]
                parts.append({"PartNumber": number, "ETag": self._told(part, "ETag"), "ChecksumCRC32": checksum})
            condition = _if_none(conditional=conditional)
            await self._call("CompleteMultipartUpload", **upload, **condition, MultipartUpload={"Parts": parts})
            complete = True
        finally:
            if not complete:
                with trio.CancelScope(shield=True), trio.move_on_after(ABORT_SECONDS):
                    await self._abort(upload)

    async def _read(self, pdf: Pdf, start: int) -> bytes:
        try:
            return await trio.to_thread.run_sync(_part, pdf, start)
        except OSError as error:
            raise UnavailableError("artifacts", f"the PDF can't be read: {error}") from error

    async def _abort(self, upload: Mapping[str, Any]) -> None:
        try:
            await self._call("AbortMultipartUpload", **upload)
        except UnavailableError as error:
            log.warning("upload.not_aborted", key=upload["Key"], error=str(error))

    async def locate(self, job: Job) -> str | None:
        """A presigned URL. It ends with its life, or with the credentials it was made with, whichever is first."""
        key = self._key(job.task_id)
        if not await self._exists(key):
            return None
        with in_words("artifacts", self._subject):
            url: str = await self._client.generate_presigned_url(
                "get_object", Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=int(self._presign_seconds)
            )
        return url

    async def _exists(self, key: str) -> bool:
        try:
            await self._call("HeadObject", Key=key)
        except MissingError:
            # S3 gives the same answer when there is no such bucket, which is another matter.
            await self._call("HeadBucket")
            return False
        return True

    async def remove(self, task_id: str) -> None:
        await self._call("DeleteObject", Key=self._key(task_id))

    # --- which store it is ----------------------------------------------------------------------------------

    async def identity(self) -> str | None:
        """A lifecycle rule that expires PDFs takes this away, too; then ``place`` says which store it is."""
        try:
            answer = await self._call("GetObject", Key=f"{self._prefix}{IDENTITY}")
        except RejectedError:
            return None
        with in_words("artifacts", self._subject):
            found: bytes = await answer["Body"].read()
        return found.decode("utf-8", "replace").strip() or None

    async def mark(self, identity: str) -> str:
        return await self._mark(identity, conditional=self._conditional)

    async def _mark(self, identity: str, *, conditional: bool) -> str:
        parameters = {"Key": f"{self._prefix}{IDENTITY}", **_body(f"{identity}\n".encode()), **self._encryption}
        try:
            if not conditional and (found := await self.identity()):
                return found
            await self._call("PutObject", **_if_none(conditional=conditional), **parameters)
        except ConditionRefusedError as error:
            marked = await self._mark(identity, conditional=False)
            self._do_without_condition(error)
            return marked
        except RejectedError:
            return await self.identity() or identity
        return identity

    async def probe(self) -> None:
        key = self._key(f"probe-{secrets.token_hex(4)}")
        try:
            await self._call("PutObject", Key=key, **_body(b"probe"), **self._encryption)
            await self._call("HeadObject", Key=key)
            await self._call("DeleteObject", Key=key)
        except RejectedError as error:
            raise UnavailableError("artifacts", f"{self._subject}: {error}") from None

    # --- requests -------------------------------------------------------------------------------------------

    async def check(self) -> list[str]:
        """What is wrong, each with what to do: a PDF is stored, small and in parts, read and removed as for a job.

        It begins with an upload, since an answer to HEAD has no body and so no code that tells a wrong clock from a
        wrong secret.
        """
        job = Job(f"check-{uuid4()}", "check", {}, "check", 0.0)
        try:
            for size_bytes in (1, PART_BYTES + 1):
                data = bytes(size_bytes)
                pdf = Pdf(size_bytes, hashlib.sha256(data).hexdigest(), data=data)
                await self.put(job, pdf)
                await self._read_back(job, data)
                if size_bytes == 1 and await self.put(job, pdf) != pdf.info:
                    return [f"{self._subject}: a second upload took the place of the first"]
                await self.remove(job.task_id)
        except UnavailableError as error:
            return [str(error)]
        return []

    async def _read_back(self, job: Job, data: bytes) -> None:
        """By the URL that a client would be sent to, and a piece of it."""
        url = await self.locate(job)
        if url is None:
            raise UnavailableError("artifacts", f"{self._subject}: what has just been stored is not there")
        async with httpx.AsyncClient(timeout=CHECK_SECONDS) as client:
            try:
                answer = await client.get(url, headers={"Range": "bytes=0-0"})
            except httpx.HTTPError as error:
                # Its text may hold the URL, which is as good as a key.
                text = f"{self._subject}: a presigned URL can't be reached ({type(error).__name__}): check endpoint_url"
                raise UnavailableError("artifacts", text) from None
        whole = answer.status_code in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT)
        if not whole or answer.content[:1] != data[:1]:
            text = f"{self._subject}: a presigned URL is answered with {answer.status_code}: see the bucket's policy"
            raise UnavailableError("artifacts", text)

    async def _call(self, operation: str, **parameters: Any) -> Mapping[str, Any]:
        self.requests[operation] += 1
        method = getattr(self._client, _METHODS[operation])
        try:
            with in_words("artifacts", self._subject):
                answer: Mapping[str, Any] = await method(Bucket=self._bucket, **parameters)
        except RejectedError as error:
            if error.code in ("NoSuchKey", "PreconditionFailed"):
                raise
            if error.code in NOT_KNOWN and "IfNoneMatch" in parameters:
                raise ConditionRefusedError(str(error)) from None
            raise UnavailableError("artifacts", f"{self._subject}: {error}") from None
        self.requests[operation] += answer["ResponseMetadata"].get("RetryAttempts", 0)
        return answer

    def _told(self, answer: Mapping[str, Any], name: str) -> str:
        if name not in answer:
            text = f"{self._subject}: the answer has no {name}, so it is not from S3: check endpoint_url"
            raise UnavailableError("artifacts", text)
        return str(answer[name])


_METHODS = {
    "PutObject": "put_object",
    "GetObject": "get_object",
    "HeadObject": "head_object",
    "DeleteObject": "delete_object",
    "HeadBucket": "head_bucket",
    "CreateMultipartUpload": "create_multipart_upload",
    "UploadPart": "upload_part",
    "CompleteMultipartUpload": "complete_multipart_upload",
    "AbortMultipartUpload": "abort_multipart_upload",
}


def _encryption(wanted: str) -> dict[str, str]:
    if wanted in ("", "AES256"):
        return {"ServerSideEncryption": wanted} if wanted else {}
    return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": wanted}


def _if_none(*, conditional: bool) -> dict[str, str]:
    return {"IfNoneMatch": "*"} if conditional else {}


def _file_name(job: Job) -> str:
    return f"{job.report_type}-{timestamp(job.submitted_at)[:10]}-{job.task_id[:8]}.pdf"


class _Chunks(io.BytesIO):
    """A body that goes out in large pieces. The libraries iterate over bodies, which gives lines by default; those of
    a PDF have some 256 bytes."""

    def __next__(self) -> bytes:
        if chunk := self.read(_CHUNK_BYTES):
            return chunk
        raise StopIteration


def _body(data: bytes) -> dict[str, Any]:
    """With its checksum, so that S3 stores nothing that was damaged on its way."""
    return {"Body": _Chunks(data), "ChecksumCRC32": base64.b64encode(zlib.crc32(data).to_bytes(4)).decode()}


def _part(pdf: Pdf, start: int) -> bytes:
    if pdf.path is None:
        return (pdf.data or b"")[start : start + PART_BYTES]
    with pdf.path.open("rb") as file:
        file.seek(start)
        return file.read(PART_BYTES)
