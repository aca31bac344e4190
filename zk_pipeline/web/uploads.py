"""Forms with a file: Starlette's multipart parser with limits, and a check that the form is complete."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from zk_pipeline.errors import UsageError
from zk_pipeline.http.auth import Identity, check_csrf
from zk_pipeline.http.middleware import MAX_BODY_BYTES, MAX_PUNCH_FILE_BYTES
from zk_pipeline.store.api_tokens import Scope
from zk_pipeline.web.rendering import Form, require_login

_MAX_FIELDS = 20
_MAX_FILES = 5


@dataclass(frozen=True)
class Upload:
    """An uploaded file; `name` is without folders."""

    name: PurePosixPath
    content: bytes


@dataclass(frozen=True)
class SignedUpload:
    """A form with files that carries the CSRF token of `identity`'s session."""

    identity: Identity
    fields: Form
    files: dict[str, Upload]

    def chosen(self, kinds: str) -> Upload:
        """The file of the field `file`. Raises UsageError without one; `kinds` names what is expected."""
        file = self.files.get("file")
        if file is None or not file.content:
            raise UsageError(f"choose a file: {kinds}")
        return file


def signed_upload(scope: Scope) -> Callable[..., Awaitable[SignedUpload]]:
    """Dependency of `POST` handlers: the form with a verified CSRF token, of an identity with `scope`."""

    async def check(request: Request) -> SignedUpload:
        identity = await run_in_threadpool(require_login(scope), request)
        fields, files = await _read_upload(request)
        check_csrf(identity, fields.pop("csrf_token", None) or request.headers.get("x-csrf-token"))
        request.app.state.waiting.forget()
        return SignedUpload(identity, fields, files)

    return check


AdminUpload = Annotated[SignedUpload, Depends(signed_upload("admin"))]
ApproverUpload = Annotated[SignedUpload, Depends(signed_upload("approve"))]
RequesterUpload = Annotated[SignedUpload, Depends(signed_upload("request"))]


class _Parser(MultiPartParser):
    """Files stay in memory: the middleware ends a request whose body exceeds its limit."""

    spool_max_size = MAX_PUNCH_FILE_BYTES
    is_complete = False

    def on_end(self) -> None:
        """Note the closing boundary, without which Starlette drops the last part silently."""
        self.is_complete = True


async def _read_upload(request: Request) -> tuple[Form, dict[str, Upload]]:
    """Fields and files of a multipart form, the last of each name.

    Raises HTTPException: 400 for a malformed form, 413 for too large a body, 415 for another content type.
    """
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        raise HTTPException(415, "a form with a file is expected")
    parser = _Parser(
        request.headers,
        request.stream(),
        max_files=_MAX_FILES,
        max_fields=_MAX_FIELDS,
        max_part_size=MAX_BODY_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise HTTPException(400, f"the form cannot be read: {error.message}") from None
    except ValueError:  # from a codec that the client named as charset
        raise HTTPException(400, "the form cannot be read") from None
    try:
        if not parser.is_complete:
            raise HTTPException(400, "the form cannot be read: it is not complete")
        fields: Form = {}
        files: dict[str, Upload] = {}
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                files[name] = Upload(PurePosixPath(PureWindowsPath(value.filename or "").name), await value.read())
            else:
                fields[name] = value
    finally:
        await form.close()
    return fields, files
