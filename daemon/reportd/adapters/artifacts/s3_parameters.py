"""The parameters of uploads to S3. Pure, except for ``read_part``."""

import base64
import io
import zlib
from typing import Any

from reportd.core.jobs.disposition import content_disposition
from reportd.core.jobs.job import Job
from reportd.ports import Pdf

PART_BYTES = 8388608
"""A larger PDF is uploaded in parts of this size; S3 requires at least 5 MiB and at most 10,000 parts."""

_CHUNK_BYTES = 262144


class _Chunks(io.BytesIO):
    """A body sent in large pieces. The libraries iterate over a body, which by default gives lines; those of a PDF have
    about 256 bytes."""

    def __next__(self) -> bytes:
        if chunk := self.read(_CHUNK_BYTES):
            return chunk
        raise StopIteration


def body(data: bytes) -> dict[str, Any]:
    """Return a body with its checksum, so that S3 refuses data that was damaged on the way."""
    return {"Body": _Chunks(data), "ChecksumCRC32": base64.b64encode(zlib.crc32(data).to_bytes(4)).decode()}


def object_parameters(job: Job, pdf: Pdf) -> dict[str, Any]:
    """Return content type, file name and metadata of a job's PDF."""
    return {
        "ContentType": "application/pdf",
        "ContentDisposition": content_disposition(job),
        "Metadata": {
            "taskId": job.task_id,
            "reportType": job.report_type,
            "bytes": str(pdf.size_bytes),
            "sha256": pdf.sha256,
        },
    }


def encryption_parameters(encryption: str) -> dict[str, str]:
    """``encryption``: "AES256", a KMS key id, or empty for the bucket's default."""
    if encryption in ("", "AES256"):
        return {"ServerSideEncryption": encryption} if encryption else {}
    return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": encryption}


def only_if_absent(*, conditional: bool) -> dict[str, str]:
    """Return the condition that there is no object at the key; nothing unless ``conditional``."""
    return {"IfNoneMatch": "*"} if conditional else {}


def read_part(pdf: Pdf, start: int) -> bytes:
    """Return up to PART_BYTES of the PDF. Raises OSError."""
    if pdf.path is None:
        return (pdf.data or b"")[start : start + PART_BYTES]
    with pdf.path.open("rb") as file:
        file.seek(start)
        return file.read(PART_BYTES)
