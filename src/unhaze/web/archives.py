"""Zip archives from strangers: looked through before anything is unpacked, and unpacked one picture at a time.

Nothing is ever written under a name of the archive. Such names would lead out of a folder (zip slip) only at the
caller's, so they are refused there too.
"""

from __future__ import annotations

import stat
import struct
import unicodedata
import zipfile
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from unhaze.images.files import READ_SUFFIXES
from unhaze.web.problems import ProblemError

__all__ = ["MOST_PICTURES", "Archive", "Member", "open_archive"]

MOST_PICTURES = 1000
_LARGEST_DIRECTORY = 1 << 20  # [bytes] of the list of names, which is read as a whole
_MOST_EXPANSION = 20  # times the archive's own size; pictures are compressed already, but BMP, TIFF and PNM are not
_ROOM = 16 << 20  # [bytes] that any archive may unpack to
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # what may break a line, or turn its direction
_JOINERS = "\u200c\u200d"  # within words of many languages, and within signs of several parts
_END, _END_SIZE, _LOCATOR, _LONGEST_COMMENT = b"PK\x05\x06", 22, b"PK\x06\x07", 65535


@dataclass(frozen=True, slots=True)
class Member:
    """A picture of an archive."""

    name: str
    info: zipfile.ZipInfo


class Archive:
    """An archive that was looked through.

    Attributes:
        members: Its pictures, in order.
        ignored: How many other files it holds.
    """

    def __init__(self, archive: zipfile.ZipFile, members: list[Member], ignored: int) -> None:
        self._archive, self.members, self.ignored = archive, members, ignored

    def read(self, member: Member) -> bytes:
        """Content of a picture.

        Raises:
            ProblemError: It is damaged.
        """
        try:
            with self._archive.open(member.info) as file:
                data = file.read(member.info.file_size + 1)
        except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
            raise _refused("is damaged within a file; make it again") from error
        except Exception as error:  # zlib.error, and whatever else a damaged stream may raise
            raise _refused("is damaged within a file; make it again") from error
        if len(data) > member.info.file_size:
            raise _refused("holds more than it says; make it again")
        return data

    def close(self) -> None:
        """Let the file go."""
        self._archive.close()


def open_archive(file: IO[bytes], *, largest: int) -> Archive:
    """Look through an archive.

    Args:
        file: The archive.
        largest: Bytes that one picture may have.

    Raises:
        ProblemError: It is none, is encrypted, would unpack to far more than it is, or holds names that lead
            elsewhere.
    """
    size = file.seek(0, 2)
    _check_directory(file, size)
    try:
        archive = zipfile.ZipFile(file)
    except Exception as error:  # it raises errors of every kind for damaged directories
        raise _refused("cannot be read; make it again") from error
    members, ignored, total, packed = [], 0, 0, 0
    names: set[str] = set()
    for info in archive.infolist():
        name = info.orig_filename
        parts = name.replace("\\", "/").split("/")
        leads_elsewhere = name.startswith(("/", "\\")) or ".." in parts or ":" in name or "\\" in name
        is_hidden = any(unicodedata.category(letter) in _UNSEEN and letter not in _JOINERS for letter in name)
        if leads_elsewhere or is_hidden or len(name) > 1000 or not name.strip("/ ."):
            raise _refused("holds a name that leads elsewhere or cannot be shown; rename it")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused("holds a link or a device; leave it out")
        if info.is_dir():
            continue
        if info.flag_bits & 0x1:
            raise _refused("is encrypted; send one that is not")
        if info.compress_type not in _METHODS:
            raise _refused("is compressed in an unusual way; use deflate")
        if info.file_size > largest:
            raise ProblemError(413, f"The archive holds a file of more than {largest} bytes; leave it out.")
        total, packed = total + info.file_size, packed + info.compress_size
        path = PurePosixPath(info.filename)
        if path.suffix.lower() not in READ_SUFFIXES or any(part.startswith((".", "__MACOSX")) for part in path.parts):
            ignored += 1
            continue
        if info.filename.lower() in names:
            raise _refused("holds a name twice; rename one of the two")
        names.add(info.filename.lower())
        members.append(Member(info.filename, info))
    if total > _ROOM + _MOST_EXPANSION * size or packed > size:
        raise ProblemError(413, "The archive would unpack to far more than it is; send its pictures in several.")
    if len(members) > MOST_PICTURES:
        raise ProblemError(413, f"The archive holds more than {MOST_PICTURES} pictures; send several archives.")
    if not members:
        raise _refused("holds no picture; put some into it")
    return Archive(archive, members, ignored)


def _check_directory(file: IO[bytes], size: int) -> None:
    """Refuse a list of names that would fill the memory, before it is read."""
    file.seek(max(0, size - _END_SIZE - _LONGEST_COMMENT))
    tail = file.read()
    place = len(tail) - _END_SIZE if tail[-_END_SIZE:].startswith(_END) else tail.rfind(_END)
    if place < 0 or len(tail) - place < _END_SIZE:
        raise ProblemError(422, "What was sent is no zip archive; send one.")
    count, length = struct.unpack_from("<HI", tail, place + 10)
    if tail[max(0, place - 20) :].startswith(_LOCATOR):
        raise _refused("is of the large kind (ZIP64); send a smaller one")
    if length > _LARGEST_DIRECTORY or count > 4 * MOST_PICTURES:
        raise ProblemError(413, f"The archive holds too many files; send at most {MOST_PICTURES} pictures.")


def _refused(why: str) -> ProblemError:
    return ProblemError(422, f"The archive {why}.")
