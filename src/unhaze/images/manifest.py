"""Reports in JSON lines: one object per line, appended as the work goes on.

Every record is on its way to the disk before the next picture is started, so a run that is killed leaves a report of
what it did. At worst its last line is cut off; readers pass over that line and a later run starts a new one.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from unhaze.errors import OutputError

__all__ = ["ReportWriter", "read_report"]


class ReportWriter:
    """Appends records to a report; safe to share between threads.

    Args:
        path: The report; made along with its folder when it is not there, continued when it is.

    Raises:
        OutputError: The file cannot be opened, or it holds something other than a report.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name, "report.jsonl")
    >>> with ReportWriter(path) as report:
    ...     report.write({"input": "a.jpg", "status": "done"})
    >>> list(read_report(path))
    [{'input': 'a.jpg', 'status': 'done'}]
    >>> folder.cleanup()
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b", buffering=0)
            if self._file.seek(0, 2) > 0:
                self._file.seek(0)
                if self._file.read(1) != b"{":
                    self._file.close()
                    raise OutputError(f"{self.path} exists and is not a report; name another file for the report.")
                self._file.seek(-1, 2)
                if self._file.read(1) != b"\n":  # a last line that was cut off
                    self._file.write(b"\n")
        except OSError as error:
            raise self._failure(error) from error

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record.

        Raises:
            OutputError: The disk is full, or the file is gone.
        """
        try:
            line = json.dumps(record, ensure_ascii=False).encode() + b"\n"
        except UnicodeEncodeError:  # a file name that is not valid text; escapes bring it back as it was
            line = json.dumps(record).encode() + b"\n"
        try:
            with self._lock:
                while line:  # a nearly full disk takes a part and fails at the next try
                    line = line[self._file.write(line) :]
        except OSError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Close the file; records cannot be written any more."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _failure(self, error: OSError) -> OutputError:
        reason = error.strerror or error
        return OutputError(f"The report {self.path} cannot be written ({reason}); name another file for the report.")


def read_report(path: str | Path) -> Iterator[dict[str, Any]]:
    """The records of a report, in the order they were written; lines that were cut off are left out.

    Raises:
        OSError: The file cannot be read.
    """
    with Path(path).open("rb") as lines:
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:  # also undecodable text
                continue
            if isinstance(record, dict):
                yield record
