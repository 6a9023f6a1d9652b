"""Camera raw: what LibRaw tells the terminal alone."""

import struct
import subprocess
import sys

import pytest
from tests.images.test_files import raw_dng
from tests.images.test_tiff import entry
from tests.pictures import row

from unhaze.errors import ImageDecodeError
from unhaze.images.files import read_image

pytest.importorskip("rawpy", reason="rawpy is not installed")


@row("raw-torn")
def test_nothing_of_libraw_reaches_the_terminal(capfd, tmp_path):
    data = bytearray(raw_dng())
    place = struct.unpack_from("<I", data, entry(data, 273) + 8)[0]
    struct.pack_into("<I", data, entry(data, 273) + 8, place + len(data) - 3000)  # the mosaic ends behind the file
    path = tmp_path / "torn.dng"
    path.write_bytes(data)
    by_itself = "import rawpy, sys; rawpy.imread(sys.argv[1]).postprocess()"
    told = subprocess.run([sys.executable, "-c", by_itself, path], capture_output=True, check=False).stderr
    assert b"nexpected end of file" in told  # so there is something to keep back
    with pytest.raises(ImageDecodeError, match="truncated"):
        read_image(path)
    assert capfd.readouterr().err == ""
    read_image(raw_dng())
