"""Forms with a file in them, read by the standard library. How large one may be is the guard's."""

from __future__ import annotations

from dataclasses import dataclass
from email import message_from_bytes
from email.policy import HTTP
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from zk_pipeline.http.auth import Identity, check_csrf
from zk_pipeline.web.rendering import Admin, Form

_MOST_PARTS = 20


@dataclass(frozen=True)
class Upload:
    """A file as it was sent; `name` is without folders."""

    name: PurePosixPath
    content: bytes


@dataclass(frozen=True)
class SignedUpload:
    """A form with files that is proven to be from a page of `identity`'s own session."""

    identity: Identity
    fields: Form
    files: dict[str, Upload]


async def _signed_upload(request: Request, identity: Admin) -> SignedUpload:
    fields, files = await run_in_threadpool(read_parts, request.headers.get("content-type", ""), await request.body())
    check_csrf(identity, fields.pop("csrf_token", None) or request.headers.get("x-csrf-token"))
    return SignedUpload(identity, fields, files)


AdminUpload = Annotated[SignedUpload, Depends(_signed_upload)]


def read_parts(content_type: str, body: bytes) -> tuple[Form, dict[str, Upload]]:
    """Fields and files of a multipart form. Raises HTTPException 400 or 415."""
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        raise HTTPException(415, "a form with a file is expected")
    if not content_type.isprintable() or not content_type.isascii():
        raise HTTPException(400, "the form cannot be read")
    head = f"Content-Type: {content_type}\r\nMIME-Version: 1.0\r\n\r\n".encode()
    try:
        whole = message_from_bytes(head + body, policy=HTTP)
    except RecursionError:  # parts within parts within parts
        raise HTTPException(400, "the form cannot be read") from None
    parts = list(whole.iter_parts()) if whole.is_multipart() else []
    if not parts or len(parts) > _MOST_PARTS or whole.defects:
        raise HTTPException(400, "the form cannot be read")
    fields: Form = {}
    files: dict[str, Upload] = {}
    for part in parts:
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(content, bytes):
            raise HTTPException(400, "the form cannot be read")
        file_name = part.get_filename()
        if file_name is not None:
            files[name] = Upload(PurePosixPath(PureWindowsPath(file_name).name), content)
        else:
            fields[name] = content.decode("utf-8", "replace")
    return fields, files
