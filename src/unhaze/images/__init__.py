"""Picture files in and out, with everything about them that is not haze; outputs appear whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unhaze.lazy import loads_on_use

if TYPE_CHECKING:
    from unhaze.images.files import (
        Encoding,
        ImageInfo,
        Metadata,
        Picture,
        encode_image,
        identify,
        read_image,
        write_image,
    )

__all__ = ["Encoding", "ImageInfo", "Metadata", "Picture", "encode_image", "identify", "read_image", "write_image"]

__getattr__ = loads_on_use(__name__, dict.fromkeys(__all__, "unhaze.images.files"))
