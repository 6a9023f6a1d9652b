"""A reader of one of the two papers finds each of its terms by searching the code for it, as the paper writes it."""

import re
from pathlib import Path

import pytest

import unhaze

CODE = {
    path.relative_to(Path(unhaze.__file__).parent).as_posix(): " ".join(path.read_text("utf-8").split())
    for path in sorted(Path(unhaze.__file__).parent.rglob("*.py"))
}

# "Depth Information Assisted Collaborative Mutual Promotion Network for Single Image Dehazing", CVPR 2024:
# modules, quantities in the letters of the paper (in ASCII: M_u~* is the depth map of the hazy picture), settings
FIRST = """
    atmospheric scattering model
    LEGM
    local feature-embedded global feature extraction module
    MSAAM
    multi-scale aggregation attention module
    MFM
    modulation fusion module
    MFMM
    FMI
    feature modulation implantation
    DE
    DRDB
    dilated residual dense block
    DP
    difference perception
    difference perceptron
    dual-task
    mutual promotion
    U-Net
    VGG19
    RA-Depth
    GAP
    MLP
    l_UNET
    l_depth
    l_dehaze
    u*
    u~*
    M_u*
    M_u~*
    M_u
    A_d,r
    A_e,r
    A_rc
    F_legm
    F_rc
    R_u*/u
    Phi
    Psi
    w_d
    w_e
    eta_d
    lambda_i
    Baseline
    SOTS-indoor
    SOTS-outdoor
    NIQE
    PIQE
    FADE
""" + "".join(f"\n    Eq. {number}" for number in range(1, 13))

# "Can Large Pretrained Depth Estimation Models Help With Image Dehazing?"
SECOND = """
    HGDF
    Hierarchical Gated Depth Fusion
    RGB-Depth Fusion
    CFE
    Color Feature Encoder
    DAI
    Depth-Aware Interaction
    ACG
    Adaptive Channel Gating
    ASG
    Adaptive Spatial Gating
    D-FFN
    feed-forward network
    FFN
    ZC
    zero convolution
    zero-initialized
    Pre-ZC
    Post-ZC
    ControlNet
    MHSA
    F_hgdf
    alpha
    phi
    plug-and-play
    two-stage
    SelfPromer
    PromptHaze
    DRSformer
    deraining
    MB-TaylorFormer
    DehazeFormer
    MITNet
    SADNet
    OKNet
    DEA-Net
    DNMGDT
    CoA
    SGDNet
    MHCA
    DF-Block
    RAB
    SDEB
    ResGroup
    DEBlock
    DEBAlock
    Conv-L
    ResidualBlock
    DAv2
    DSv2
    Depth Anything
    DINOv2
    Distill-Any-Depth
    cosine annealing with restarts
    gradient accumulation
    RW2AH
    RESIDE-6K
    DID
    SPA
    PSNR-Y
    LPIPS
    KL
    overhead
""" + "".join(f"\n    Eq. {number}" for number in range(1, 10))


def found(term, title=""):
    """Whether a term is there as a word of its own; equations count in files about the paper, in lists too."""
    if term.startswith("Eq. "):
        number = int(term.removeprefix("Eq. "))
        places = re.compile(r"Eqs?\. (\d+)((?:, \d+)*)(?:,? (?:and|to) (\d+))?")
        named = {
            each
            for text in CODE.values()
            if title in text
            for match in places.finditer(text)
            for each in numbers_of(match)
        }
        return number in named
    start, end = (r"(?<!\w)" if term[0].isalnum() else ""), (r"(?!\w)" if term[-1].isalnum() else "")
    exact = re.compile(start + re.escape(term) + end, 0 if any(letter.isupper() for letter in term) else re.IGNORECASE)
    return any(exact.search(text) for text in CODE.values())


def numbers_of(match):
    """1, 2 and 3 of "Eqs. 1, 2 and 3" or "Eqs. 1 to 3"."""
    numbers = [int(match[1]), *(int(each) for each in match[2].split(",") if each.strip())]
    if match[3]:
        last = int(match[3])
        numbers += range(numbers[-1], last + 1) if " to " in match[0] else [last]
    return numbers


def terms(text):
    return [line.strip() for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize(
    ("paper", "title"),
    [(FIRST, "Collaborative Mutual Promotion Network"), (SECOND, "Help With Image Dehazing?")],
    ids=["dcmpnet", "depth fusion"],
)
def test_every_term_is_in_the_code(paper, title):
    assert [term for term in terms(paper) if not found(term, title)] == []


def test_a_term_that_is_in_no_paper_is_not_found():
    assert not found("hierarchical gated haze fusion")
    assert not found("Eq. 99")
    assert not found("HGD")
