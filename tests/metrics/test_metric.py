"""What holds for every metric of the catalogue."""

import contextlib
import dataclasses
import hashlib
import math
import os
import subprocess
import sys
import warnings
from functools import partial

import pytest
import torch
from tests.metrics.functional.test_clip_iqa import tensors
from torch import nn

from unhaze.errors import ImageValueError, UnknownNameError, UsageError, WeightsNotFoundError
from unhaze.metrics import create_metric, list_metrics, metric_info
from unhaze.metrics.functional.lpips import CONVOLUTIONS, WEIGHTS_VARIABLE

NAMES = list_metrics()
RATINGS = ("clip_iqa", "musiq", "nima")
NETWORKS = ("lpips", *RATINGS)


@pytest.fixture(scope="session")
def alexnet_file(tmp_path_factory):
    torch.manual_seed(0)
    weights = {}
    for inputs, outputs, kernel, _, _, index in CONVOLUTIONS:
        layer = nn.Conv2d(inputs, outputs, kernel)
        weights |= {f"features.{index}.{name}": value for name, value in layer.state_dict().items()}
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save(weights, path)
    return path


@pytest.fixture(autouse=True)
def random_alexnet(alexnet_file, monkeypatch):
    digest = hashlib.sha256(alexnet_file.read_bytes()).hexdigest()[:8]
    monkeypatch.setattr(sys.modules["unhaze.metrics.functional.lpips"], "WEIGHTS_SHA256", digest)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(alexnet_file))


@pytest.fixture(autouse=True)
def small_networks_of_ratings(tmp_path_factory, monkeypatch):
    """MUSIQ and NIMA of a few channels, with random weights in files that pass for the published ones."""
    musiq, nima = (sys.modules[f"unhaze.metrics.functional.{name}"] for name in ("musiq", "nima"))
    monkeypatch.setattr(musiq, "MusiqNetwork", partial(musiq.MusiqNetwork, width=24, blocks=1, heads=2, hidden=16))
    monkeypatch.setattr(nima, "LEVELS", tuple((4, places) for _, places in nima.LEVELS))
    folder = tmp_path_factory.getbasetemp() / "ratings"
    folder.mkdir(exist_ok=True)
    for module, network in ((musiq, "MusiqNetwork"), (nima, "NimaNetwork")):
        name = module.__name__.rpartition(".")[2].upper()
        path = folder / f"{name}.pth"
        if not path.exists():
            torch.manual_seed(0)
            state = {key: torch.randn_like(value) for key, value in getattr(module, network)().state_dict().items()}
            torch.save({"params": state}, path)
        known = dataclasses.replace(
            getattr(module, f"{name}_FILE"), sha256=hashlib.sha256(path.read_bytes()).hexdigest()
        )
        monkeypatch.setattr(module, f"{name}_FILE", known)
        monkeypatch.setenv(known.variable, str(path))
    clip = sys.modules["unhaze.metrics.functional.clip_iqa"]
    path = folder / "clip.pt"
    if not path.exists():
        save_scripted(tensors(), path)
    known = dataclasses.replace(clip.CLIP_FILE, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(clip, "CLIP_FILE", known)
    monkeypatch.setenv(known.variable, str(path))


def save_scripted(state, path):
    """An archive of TorchScript with these tensors, as CLIP is published."""
    root = nn.Module()
    for name, value in state.items():
        *modules, last = name.split(".")
        place = root
        for module in modules:
            if not hasattr(place, module):
                place.add_module(module, nn.Module())
            place = getattr(place, module)
        place.register_buffer(last, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(root), path)


@pytest.fixture(scope="module")
def pictures(batch, hazed):
    """Two different crops of odd size, in [0, 1]: preds, target, hazy."""

    def crops(images):
        return torch.cat((images[..., :277, :301], images[..., 20:297, 99:400])).float()

    clear, hazy = crops(batch("chelsea")), crops(hazed("chelsea", 0.8, 0.9))
    return (0.4 * clear + 0.6 * hazy).clamp(0, 1), clear, hazy


def score(name, preds, target, hazy):
    return create_metric(name).score(preds, target, hazy=hazy)


def test_names():
    required = (
        "psnr psnr_y ssim ssim_dehazeformer ssim_dcmpnet ssim_basicsr_rgb ssim_y ms_ssim ciede2000 lpips niqe piqe"
    )
    assert {*required.split(), "fade", "clipped", "chroma_shift"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_facts(name, pictures):
    info = metric_info(name)
    assert info.name == name
    assert info.source
    assert info.color_space
    low, high = info.range
    values = score(name, *pictures)
    assert ((values >= low) & (values <= high)).all()


@pytest.mark.parametrize("name", NAMES)
def test_higher_is_better_reports_the_better_picture(name, pictures):
    preds, clear, hazy = pictures
    info = metric_info(name)
    if name in RATINGS:
        return  # with random weights nothing is better
    by_haze = info.needs_target or name in ("fade", "entropy")
    worse = hazy if by_haze else (preds * 2 - 0.5).clamp(0, 1)
    better = clear if by_haze else hazy
    if name in ("niqe", "piqe", "brisque"):
        better, worse = clear, (clear + 0.2 * torch.randn(clear.shape, generator=torch.manual_seed(0))).clamp(0, 1)
    good, bad = score(name, better, clear, hazy), score(name, worse, clear, hazy)
    assert ((good > bad) if info.higher_is_better else (good < bad)).all()


@pytest.mark.parametrize("name", NAMES)
def test_batch_equals_single_pictures(name, pictures):
    together = score(name, *pictures)
    alone = torch.cat([score(name, *(images[i : i + 1] for images in pictures)) for i in range(2)])
    assert together.shape == (2,)
    assert together.dtype == torch.float64
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6 if name in NETWORKS else 1e-11)


@pytest.mark.parametrize("name", NAMES)
def test_float32_and_memory_layout_do_not_matter(name, pictures):
    other = [images.double().to(memory_format=torch.channels_last) for images in pictures]
    tolerance = 1e-4 if name == "musiq" else 1e-6  # its random weights give values of any size
    torch.testing.assert_close(score(name, *pictures), score(name, *other), rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_flows_where_promised(name, pictures):
    preds, target, hazy = (images[:1] for images in pictures)
    preds = preds.clone().requires_grad_()
    value = score(name, preds, target, hazy)
    assert value.requires_grad == metric_info(name).differentiable
    if value.requires_grad:
        value.sum().backward()
        assert preds.grad.isfinite().all()
        assert preds.grad.abs().max() > 0


@pytest.mark.parametrize("name", NAMES)
def test_update_compute_reset(name, pictures):
    metric, (preds, target, hazy) = create_metric(name), pictures
    with pytest.raises(UsageError, match="no values yet"):
        metric.compute()
    for i in range(2):
        metric.update(preds[i : i + 1].clone().requires_grad_(), target[i : i + 1], hazy=hazy[i : i + 1])
    assert not metric.values.requires_grad
    torch.testing.assert_close(metric.values, score(name, *pictures), rtol=0, atol=1e-6)
    assert metric.compute() == pytest.approx(float(metric.values.mean()))
    metric.reset()
    assert len(metric.values) == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [math.nan, math.inf, 1.5, -0.5])
def test_values_without_meaning(name, value, pictures):
    preds, target, hazy = (images.clone() for images in pictures)
    preds[1, 0, 3, 3] = value
    metric = create_metric(name)
    with pytest.raises(ImageValueError, match="preds"):
        metric.update(preds, target, hazy=hazy)
    assert len(metric.values) == 0


@pytest.mark.parametrize("name", NAMES)
def test_arrays_are_not_tensors(name, pictures):
    with pytest.raises(ImageValueError, match="as_batch"):
        score(name, *(images.numpy() for images in pictures))


@pytest.mark.parametrize("name", NAMES)
def test_other_picture_must_be_given_and_must_match(name, pictures):
    preds, target, hazy = pictures
    info = metric_info(name)
    if not (info.needs_target or info.needs_hazy):
        return
    with pytest.raises(UsageError, match=f"{name} needs"):
        score(name, preds, None, None)
    with pytest.raises(ImageValueError, match="same shape"):
        score(name, preds, target[..., 1:], hazy[..., 1:])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (17, 16), (9, 64)])
@pytest.mark.parametrize("constant", [True, False])
def test_tiny_and_constant_pictures(name, size, constant):
    images = torch.full((1, 3, *size), 0.5) if constant else torch.rand(1, 3, *size, generator=torch.manual_seed(0))
    with contextlib.suppress(ImageValueError):
        assert not score(name, images, images * 0.9, images).isnan().any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", NAMES)
def test_gpu_agrees(name, pictures):
    value = score(name, *(images.cuda() for images in pictures))
    tolerance = 1e-3 if name == "lpips" else 1e-6
    torch.testing.assert_close(value.cpu(), score(name, *pictures), rtol=0, atol=tolerance)


def test_unknown_name_and_option():
    with pytest.raises(UnknownNameError, match="psnr_y"):
        create_metric("psnry")
    with pytest.raises(UsageError, match="no option weights; it takes none"):
        create_metric("ssim", weights="x")
    with pytest.raises(UsageError, match="it takes identical"):
        create_metric("psnr", peak=255)


def test_options(pictures):
    photo = pictures[0]
    assert create_metric("psnr", identical=100.0).score(photo, photo).tolist() == [100, 100]


def test_lpips_is_unavailable_without_its_backbone(monkeypatch):
    monkeypatch.delenv(WEIGHTS_VARIABLE)
    with pytest.raises(WeightsNotFoundError, match="unavailable"):
        create_metric("lpips")


@pytest.mark.parametrize("name", RATINGS)
def test_networks_of_ratings_are_unavailable_without_their_files(name, monkeypatch, tmp_path):
    variable = f"UNHAZE_{name.upper()}_WEIGHTS"
    published = os.environ[variable]
    monkeypatch.delenv(variable)
    with pytest.raises(
        WeightsNotFoundError, match=rf"unavailable without its weights: get .*\.pth? from https.*{variable}"
    ):
        create_metric(name)
    create_metric(name, weights=published)
    other = tmp_path / "other.pth"
    other.write_bytes(b"something else")
    with pytest.raises(WeightsNotFoundError, match=r"is not .*\.pth? \(its SHA-256 starts with"):
        create_metric(name, weights=other)
    with pytest.raises(WeightsNotFoundError, match="cannot be read"):
        create_metric(name, weights=tmp_path / "nowhere.pth")


def test_without_torch():
    program = """
import sys
sys.modules["torch"] = None
from unhaze.errors import MissingDependencyError
import unhaze.metrics
assert "fade" in unhaze.metrics.list_metrics()
for use in (lambda: unhaze.metrics.create_metric("fade"), lambda: __import__("unhaze.metrics.functional")):
    try:
        use()
    except MissingDependencyError as error:
        assert "unhaze[torch]" in str(error)
    else:
        raise AssertionError
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_pictures_may_be_given_by_name(pictures):
    preds, target, hazy = pictures
    metric = create_metric("psnr")
    metric.update(preds=preds, target=target, hazy=hazy)
    assert torch.equal(metric.values, metric.score(preds=preds, target=target))
