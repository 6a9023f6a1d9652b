"""Every table of both papers that a training made: the command that would make its rows again, on tiny data.

P1 is DCMPNet's paper, P2 "Can Large Pretrained Depth Estimation Models Help With Image Dehazing?". What a table of P2
has without fusion is made by the presets without ``+hgdf``. Tables without a training of their own: P2's Table 7 is the
settings. Of the networks that P1's Table 1 compares with, four have no preset to train them (PSD, D4, Dehamer, MAXIM).
"""

import json

import pytest
from typer.testing import CliRunner

from unhaze.cli import app
from unhaze.recipes.presets import list_presets

PAPER = ("perception=off",)
FUSED = ("fresh=True", "depth=compact")
P1 = {
    "1, indoors": ("dcmpnet-paper", ()),
    "1, outdoors": ("dcmpnet-paper-ots", ()),
    "1, MB-TaylorFormer": ("mb_taylorformer-its", ()),
    "1, MITNet": ("mitnet-its", ()),
    "1, Dehazeformer": ("dehazeformer-its", ()),
    "1, C2PNet": ("c2pnet-its", ()),
    "1, AECR-Net": ("aecrnet-its", ()),
    "2, Baseline": ("dcmpnet-paper", tuple(f"network.{part}=False" for part in ("legm", "mfm", "msaam", "de"))),
    "2, +LEGM": ("dcmpnet-paper", tuple(f"network.{part}=False" for part in ("mfm", "msaam", "de"))),
    "2, +MFM": ("dcmpnet-paper", ("network.msaam=False", "network.de=False")),
    "2, +MSAAM": ("dcmpnet-paper", ("network.de=False",)),
    "2, +DE": ("dcmpnet-paper", PAPER),
    "2, +DP": ("dcmpnet-paper", ()),
    "2, as the code": ("dcmpnet-official", ()),
    "2, as the code of 2023": ("dcmpnet-official-2023", ()),
}
FIVE = ("mb_taylorformer", "dehazeformer", "oknet", "coa", "sgdnet")
SETS = {"1": "rw2ah", "2": "its", "9": "ots"}
P2 = (
    {f"{table}, {name}": (f"{name}+hgdf-{key}", FUSED) for table, key in SETS.items() for name in FIVE}
    | {f"10, {name}": (f"{name}+hgdf-6k", FUSED) for name in (*FIVE, "mitnet", "sadnet", "deanet", "dnmgdt")}
    | {f"10, {name} without": (f"{name}-6k", ()) for name in (*FIVE, "mitnet", "sadnet", "deanet", "dnmgdt")}
    | {f"5, {key}": (f"drsformer+hgdf-{key}", FUSED) for key in ("did", "spa")}
    | {f"5, {key} without": (f"drsformer-{key}", ()) for key in ("did", "spa")}
    | {
        "3, CFE+DAI": ("sgdnet+hgdf-6k", (*FUSED, "switches=channel_gate,feed_forward,spatial_gate")),
        "3, +ASG": ("sgdnet+hgdf-6k", (*FUSED, "switches=channel_gate,feed_forward")),
        "4, frozen": ("sgdnet+hgdf-6k", (*FUSED, "freeze=backbone")),
        "6, neither": ("sgdnet+hgdf-6k", (*FUSED, "switches=zero_pre,zero_post")),
        "6, before": ("sgdnet+hgdf-6k", (*FUSED, "switches=zero_post")),
        "6, after": ("sgdnet+hgdf-6k", (*FUSED, "switches=zero_pre")),
    }
)
# of the same kind as the published networks, and quick
QUICK = ("2, Baseline", "2, +DP", "P2 4, frozen", "P2 6, before")


def rows(table):
    """A slow one for each row, but for those that stand for the others."""
    return [pytest.param(row, marks=() if row in QUICK else pytest.mark.slow) for row in table]


def small(preset, settings):
    """Settings with which a preset trains one step on a folder of pairs."""
    changes = ["data.dataset=folders", "data.split=", "data.validation=", "data.held_out=1", "data.workers=0"]
    changes += ["data.crop=32", "data.batch=2", "loop.steps=1", "device=cpu", *settings]
    if preset.startswith("dcmpnet"):
        changes += ["teacher=compact", "loss.contrastive=0.0", "network.width=4", "network.num_blocks=(1,1,1,1,1)"]
        changes += ["network.unet_width=4", "network.depth_channels=(4,4,4,4)", "network.depth_growth=4"]
    elif any(preset.startswith(name) for name in ("deanet", "sadnet", "coa", "c2pnet", "aecrnet")):
        changes += ["loss.contrastive=0.0"]
    if "+" in preset:
        changes += ["accumulate=1"]
        if preset.startswith(("sgdnet", "oknet")) and "did" not in preset:
            changes += ["model=dehazeformer-t+hgdf", "loss.ssim=0.0"]
    return [part for change in changes for part in ("--set", change)]


@pytest.mark.parametrize("row", [*rows(P1), *rows({f"P2 {row}": None for row in P2})])
def test_the_row_is_trained_by_the_command(row, pairs_folder, tmp_path):
    preset, settings = P2[row.removeprefix("P2 ")] if row.startswith("P2 ") else P1[row]
    changes = small(preset, settings)
    command = ["train", preset, "--data", str(pairs_folder), "-o", str(tmp_path / "run"), *changes]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "run/weights.safetensors").is_file()
    lines = [json.loads(each) for each in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    (score,) = [line["val_psnr"] for line in lines if "val_psnr" in line]
    assert score > 0


@pytest.mark.parametrize("estimator", [f"depth-anything-v2-{size}" for size in ("small", "base", "large")])
def test_table_8_asks_for_the_weights_of_its_estimators(estimator, pairs_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    changes = small("sgdnet+hgdf-6k", ("fresh=True", f"depth={estimator}", f"depth_weights={tmp_path / 'none.pth'}"))
    command = ["train", "sgdnet+hgdf-6k", "--data", str(pairs_folder), "-o", str(tmp_path / "run"), *changes]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code != 0
    assert "none.pth" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_the_rows_name_presets_that_exist():
    assert {preset for preset, _ in (P1 | P2).values()} <= set(list_presets())
