"""The data sets of the NTIRE challenges: real haze from a machine, few pictures of many pixels.

O-HAZE and I-HAZE (Ancuti et al., 2018), Dense-Haze (2019) and NH-HAZE (2020). ``01_outdoor_hazy.jpg`` belongs to
``01_outdoor_GT.jpg``, ``01_hazy.png`` to ``01_GT.png``. NH-HAZE keeps both in one folder. As published, a data set is
not divided; its splits are then those of the challenge, by the number that a name begins with.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from unhaze.data.layouts.base import SAME_NAME, Layout, Part, Rule

__all__ = ["DENSE_HAZE", "I_HAZE", "NH_HAZE", "O_HAZE"]

_HAZY_WORD = re.compile(r"(?<![A-Za-z])(hazy|haze)(?![A-Za-z])", re.IGNORECASE)
_CLEAR_WORDS = ("GT", "gt", "clear", "clean")


def _clear_twins(stem: str) -> Sequence[str]:
    if not _HAZY_WORD.search(stem):
        return ()
    return tuple(_HAZY_WORD.sub(word, stem, count=1) for word in _CLEAR_WORDS)


def _is_hazy(stem: str) -> bool:
    return _HAZY_WORD.search(stem) is not None


_RULES = (Rule("hazy-GT", _clear_twins), SAME_NAME)


def _parts(whole: tuple[str, ...], train: int, total: int) -> dict[str, Part]:
    """The splits of a challenge: the last ten pictures are five to validate and five to test on."""
    ranges = {"train": (1, train), "validation": (train + 1, train + 5), "test": (train + 6, train + 10)}
    folders = {"train": ("train",), "validation": ("val", "valid", "validation"), "test": ("test",)}
    parts = {
        split: Part(
            tuple(f"{place}/{name}".lstrip("/") for place in whole for name in folders[split]),
            (last - first + 1,),
            whole,
            (first, last),
        )
        for split, (first, last) in ranges.items()
    }
    return {**parts, "all": Part((), (total,), whole)}


O_HAZE = Layout(
    name="o-haze",
    summary="Outdoor scenes in haze from a machine, 45 pairs.",
    parts=_parts(("O-HAZE/# O-HAZY NTIRE 2018", "# O-HAZY NTIRE 2018", "O-HAZY NTIRE 2018", "O-HAZE", ""), 35, 45),
    rules=_RULES,
    is_hazy=_is_hazy,
    paper="Ancuti et al., O-HAZE: A Dehazing Benchmark with Real Hazy and Haze-Free Outdoor Images, CVPRW 2018",
    source="https://data.vision.ee.ethz.ch/cvl/ntire18/o-haze/",
)

I_HAZE = Layout(
    name="i-haze",
    summary="Rooms in haze from a machine, 35 pairs.",
    parts=_parts(("I-HAZE/# I-HAZY NTIRE 2018", "# I-HAZY NTIRE 2018", "I-HAZY NTIRE 2018", "I-HAZE", ""), 25, 35),
    rules=_RULES,
    is_hazy=_is_hazy,
    paper="Ancuti et al., I-HAZE: A Dehazing Benchmark with Real Hazy and Haze-Free Indoor Images, ACIVS 2018",
    source="https://data.vision.ee.ethz.ch/cvl/ntire18/i-haze/",
)

DENSE_HAZE = Layout(
    name="dense-haze",
    summary="Dense even haze from a machine, 55 pairs.",
    parts=_parts(("Dense-Haze", "Dense_Haze_NTIRE19", ""), 45, 55),
    rules=_RULES,
    is_hazy=_is_hazy,
    paper="Ancuti et al., Dense-Haze: A Benchmark for Image Dehazing with Dense-Haze and Haze-Free Images, ICIP 2019",
    source="https://data.vision.ee.ethz.ch/cvl/ntire19/dense-haze/",
)

NH_HAZE = Layout(
    name="nh-haze",
    summary="Uneven haze from a machine, 55 pairs.",
    parts=_parts(("NH-HAZE", "NH-HAZE/NH-HAZE", ""), 45, 55),
    rules=_RULES,
    is_hazy=_is_hazy,
    paper="Ancuti et al., NH-HAZE: An Image Dehazing Benchmark with Non-Homogeneous Hazy and Haze-Free Images, "
    "CVPRW 2020",
    source="https://data.vision.ee.ethz.ch/cvl/ntire20/nh-haze/",
)
