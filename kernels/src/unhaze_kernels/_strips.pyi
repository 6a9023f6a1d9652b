from collections.abc import Buffer

def restore(
    source: Buffer,
    target: Buffer,
    hidden: Buffer | None,
    place: tuple[int, int],
    maps: tuple[Buffer, Buffer, Buffer, tuple[Buffer, Buffer, Buffer]],
    numbers: tuple[float, float, float, float, float, bool, float, float, float],
    tables: tuple[Buffer | None, Buffer | None],
    level: str,
    /,
) -> None:
    """Restore the pixels of a strip of a picture, without the interpreter lock.

    Args:
        source: (H, W) or (H, W, 3) uint8, uint16 or float32, with any strides.
        target: Same shape and type; may be ``source`` itself.
        hidden: (H, W) bool, pixels that stay as they are and count as black.
        place: Number of the strip's first row, and rows of the whole picture.
        maps: Slope, offset, brightness of the airlight, and its colour differences: (h, W) float32 each, h at least 1.
            Grey pictures leave the differences aside.
        numbers: White, least transmission, strength, colour blend, lift, whether values may lie outside of zero to
            white, margin of the range, least room to its ends, greatest gain of colours.
        tables: Of the profile's curve: to working values, (C, 256) or (C, 65536) for integers, (C, 65536) evenly spaced
            for floats; and back, (C, 65536) for squares of evenly spaced numbers.
        level: One of :func:`levels`; the widest if empty.

    Raises:
        ValueError: An argument has another shape or type.
    """

def levels() -> list[str]:
    """Names of the levels of instructions that run on this processor, the widest first."""
