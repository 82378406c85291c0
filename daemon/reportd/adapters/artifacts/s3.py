"""PDFs in an S3 bucket.

An object's key is a function of the task id. An object is complete or absent: S3 shows nothing of an unfinished upload.

The server ensures that the first PDF stays (I6): each upload has the condition that there is no object yet. If the
server does not support the condition, a HEAD request checks before the upload. Then two uploads of one job may overlap,
if a node stood still for longer than its lease: both see no object, and the later one stays. There still is one object
at one key, but the size and hash in the job's row may be those of the other rendering.
"""

import secrets
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
import trio

from reportd.adapters.artifacts.s3_check import check_s3
from reportd.adapters.artifacts.s3_parameters import (
    PART_BYTES,
    body,
    encryption_parameters,
    object_parameters,
    only_if_absent,
    read_part,
)
from reportd.adapters.aws.client import open_client
from reportd.adapters.aws.errors import NOT_KNOWN, MissingError, RejectedError, translated_errors
from reportd.core.jobs.disposition import content_disposition
from reportd.core.jobs.job import Job
from reportd.ports import Pdf, PdfInfo, UnavailableError

log = structlog.get_logger()

IDENTITY = "store.id"
"""The object below the prefix that identifies the store."""

ABORT_SECONDS = 5.0
"""How long aborting an upload may take. After that the bucket's lifecycle rule removes its parts."""


class ConditionRefusedError(Exception):
    """The server does not support the condition of an upload."""


@asynccontextmanager
async def open_s3_artifacts(
    bucket: str,
    prefix: str = "",
    *,
    presign_seconds: float,
    region: str = "",
    endpoint_url: str = "",
    encryption: str = "",
    ca_file: Path | None = None,
) -> AsyncIterator["S3Artifacts"]:
    """Yield a store. ``encryption``: "AES256", a KMS key id, or empty for the bucket's default. Makes no request.

    ``ca_file``: PEM file of further authorities.
    """
    subject = f"s3://{bucket}"
    async with open_client(
        "s3", "artifacts", region=region, endpoint_url=endpoint_url, subject=subject, ca_file=ca_file
    ) as client:
        place = f"{endpoint_url}#s3://{bucket}/{prefix.strip('/')}"
        yield S3Artifacts(client, bucket, prefix, presign_seconds, encryption, place)


class S3Artifacts:
    """Implements ``ports.ArtifactStore``. Made by ``open_s3_artifacts``. ``requests`` counts requests by operation."""

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
        self._encryption = encryption_parameters(encryption)
        self._conditional = True

    def _key(self, task_id: str) -> str:
        return f"{self._prefix}{task_id[:2]}/{task_id}.pdf"

    # --- PDFs -----------------------------------------------------------------------------------------------

    async def put(self, job: Job, pdf: Pdf) -> PdfInfo:
        key = self._key(job.task_id)
        parameters = object_parameters(job, pdf) | self._encryption
        if not await self._put_first(key, pdf, parameters, conditional=self._conditional):
            return await self._stored_info(key)
        return pdf.info

    async def _put_first(self, key: str, pdf: Pdf, parameters: Mapping[str, Any], *, conditional: bool) -> bool:
        """Upload the PDF. Return False if there is an object already."""
        try:
            if not conditional and await self._exists(key):
                return False
            if pdf.size_bytes > PART_BYTES:
                await self._put_parts(key, pdf, parameters, conditional=conditional)
            else:
                condition = only_if_absent(conditional=conditional)
                await self._call("PutObject", Key=key, **condition, **body(await self._read(pdf, 0)), **parameters)
        except ConditionRefusedError as error:
            first = await self._put_first(key, pdf, parameters, conditional=False)
            if first:
                self._drop_condition(error)
            return first
        except RejectedError:
            return False
        return True

    def _drop_condition(self, error: ConditionRefusedError) -> None:
        """Stop using the condition. Called after an upload succeeded without it: a server may give the same error for
        other faults of the request.
        """
        if self._conditional:
            self._conditional = False
            log.warning("artifacts.condition_refused", bucket=self._bucket, error=str(error), instead="HEAD, then PUT")

    async def _stored_info(self, key: str) -> PdfInfo:
        try:
            head = await self._call("HeadObject", Key=key)
        except MissingError as error:
            raise UnavailableError("artifacts", f"{self._subject}: {key} has just been removed") from error
        try:
            return PdfInfo(int(head["Metadata"]["bytes"]), head["Metadata"]["sha256"])
        except (KeyError, ValueError):
            text = f"{self._subject}: the object at {key} is no PDF of this daemon; remove it"
            raise UnavailableError("artifacts", text) from None

    async def _put_parts(self, key: str, pdf: Pdf, parameters: Mapping[str, Any], *, conditional: bool) -> None:
        """Upload the parts one after the other, so that only one is in memory."""
        created = await self._call("CreateMultipartUpload", Key=key, ChecksumAlgorithm="CRC32", **parameters)
        upload = {"Key": key, "UploadId": self._field(created, "UploadId")}
        complete = False
        try:
            parts = []
            for number, start in enumerate(range(0, pdf.size_bytes, PART_BYTES), 1):
                part = body(await self._read(pdf, start))
                answer = await self._call("UploadPart", **upload, PartNumber=number, **part)
                etag, checksum = self._field(answer, "ETag"), part["ChecksumCRC32"]
                parts.append({"PartNumber": number, "ETag": etag, "ChecksumCRC32": checksum})
            condition = only_if_absent(conditional=conditional)
            await self._call("CompleteMultipartUpload", **upload, **condition, MultipartUpload={"Parts": parts})
            complete = True
        finally:
            if not complete:
                with trio.CancelScope(shield=True), trio.move_on_after(ABORT_SECONDS):
                    await self._abort(upload)

    async def _read(self, pdf: Pdf, start: int) -> bytes:
        try:
            return await trio.to_thread.run_sync(read_part, pdf, start)
        except OSError as error:
            raise UnavailableError("artifacts", f"the PDF can't be read: {error}") from error

    async def _abort(self, upload: Mapping[str, Any]) -> None:
        try:
            await self._call("AbortMultipartUpload", **upload)
        except UnavailableError as error:
            log.warning("upload.not_aborted", key=upload["Key"], error=str(error))

    async def locate(self, job: Job) -> str | None:
        """Return a presigned URL, with the name of the download.

        It expires after its own time or with the credentials, whichever is first.
        """
        key = self._key(job.task_id)
        if not await self._exists(key):
            return None
        wanted = {"Bucket": self._bucket, "Key": key, "ResponseContentDisposition": content_disposition(job)}
        with translated_errors("artifacts", self._subject):
            url: str = await self._client.generate_presigned_url(
                "get_object", Params=wanted, ExpiresIn=int(self._presign_seconds)
            )
        return url

    async def _exists(self, key: str) -> bool:
        try:
            await self._call("HeadObject", Key=key)
        except MissingError:
            # S3 gives the same answer if the bucket does not exist, so check that.
            await self._call("HeadBucket")
            return False
        return True

    async def remove(self, task_id: str) -> None:
        await self._call("DeleteObject", Key=self._key(task_id))

    # --- which store it is ----------------------------------------------------------------------------------

    async def identity(self) -> str | None:
        """Return the store's mark. A lifecycle rule may remove it with old PDFs; then ``place`` is its identity."""
        try:
            answer = await self._call("GetObject", Key=f"{self._prefix}{IDENTITY}")
        except RejectedError:
            return None
        with translated_errors("artifacts", self._subject):
            identity: bytes = await answer["Body"].read()
        return identity.decode("utf-8", "replace").strip() or None

    async def mark(self, identity: str) -> str:
        return await self._mark(identity, conditional=self._conditional)

    async def _mark(self, identity: str, *, conditional: bool) -> str:
        parameters = {"Key": f"{self._prefix}{IDENTITY}", **body(f"{identity}\n".encode()), **self._encryption}
        try:
            if not conditional and (stored := await self.identity()):
                return stored
            await self._call("PutObject", **only_if_absent(conditional=conditional), **parameters)
        except ConditionRefusedError as error:
            marked = await self._mark(identity, conditional=False)
            self._drop_condition(error)
            return marked
        except RejectedError:
            return await self.identity() or identity
        return identity

    async def probe(self) -> None:
        key = self._key(f"probe-{secrets.token_hex(4)}")
        try:
            await self._call("PutObject", Key=key, **body(b"probe"), **self._encryption)
            await self._call("HeadObject", Key=key)
            await self._call("DeleteObject", Key=key)
        except RejectedError as error:
            raise UnavailableError("artifacts", f"{self._subject}: {error}") from None

    async def check(self) -> list[str]:
        """Store, read and remove PDFs as for a job. Return the problems, each with what to do."""
        return await check_s3(self, self._subject)

    # --- requests -------------------------------------------------------------------------------------------

    async def _call(self, operation: str, **parameters: Any) -> Mapping[str, Any]:
        self.requests[operation] += 1
        method = getattr(self._client, _METHODS[operation])
        try:
            with translated_errors("artifacts", self._subject):
                answer: Mapping[str, Any] = await method(Bucket=self._bucket, **parameters)
        except RejectedError as error:
            if error.code in ("NoSuchKey", "PreconditionFailed"):
                raise
            if error.code in NOT_KNOWN and "IfNoneMatch" in parameters:
                raise ConditionRefusedError(str(error)) from None
            raise UnavailableError("artifacts", f"{self._subject}: {error}") from None
        self.requests[operation] += answer["ResponseMetadata"].get("RetryAttempts", 0)
        return answer

    def _field(self, answer: Mapping[str, Any], name: str) -> str:
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
