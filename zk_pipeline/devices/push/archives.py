"""Archives of lines: bodies of OPERLOG with `ContentType=tgz`."""

from __future__ import annotations

import io
import tarfile
import zlib

from zk_pipeline.devices.push.records import UnreadableBody

MAX_UNPACKED_BYTES = 16 << 20


def is_archive(body: bytes) -> bool:
    """True for a body that begins like a gzip file."""
    return body.startswith(b"\x1f\x8b")


def unpack(body: bytes) -> bytes:
    """The lines of all files in a gzip-compressed tar archive, or of a gzip file without one.

    Raises UnreadableBody if it is damaged or unpacks to more than MAX_UNPACKED_BYTES.
    """
    decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        data = decompressor.decompress(body, MAX_UNPACKED_BYTES + 1)
    except zlib.error as error:
        raise UnreadableBody(f"damaged archive: {error}") from error
    if len(data) > MAX_UNPACKED_BYTES:
        raise UnreadableBody(f"the archive unpacks to more than {MAX_UNPACKED_BYTES >> 20} MB")
    if not decompressor.eof:
        raise UnreadableBody(f"the archive ends after {len(body)} bytes, before its data")
    try:
        return _files(data)
    except (tarfile.TarError, ValueError, EOFError, OverflowError, RecursionError) as error:
        raise UnreadableBody(f"damaged archive: {error}") from error


def _files(data: bytes) -> bytes:
    try:
        archive = tarfile.TarFile(fileobj=io.BytesIO(data))
    except tarfile.ReadError:
        return data  # lines without a tar archive around them
    with archive:
        return b"\n".join(_content(archive, member) for member in archive)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """The bytes of a file; none of a folder or link."""
    if member.issparse():
        raise UnreadableBody(f"the archive has a sparse file of {member.size} bytes, which may exceed any limit")
    file = archive.extractfile(member) if member.isreg() else None
    return b"" if file is None else file.read()
