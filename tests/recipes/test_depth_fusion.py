"""Depth from the cache: the whole picture's, cut with its views, and the same whether it was kept or just estimated."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from unhaze.data.dataset import Pair, PairedDataset
from unhaze.data.depth_transforms import FeatureCut
from unhaze.data.transforms import CenterCrop, Compose, random_view
from unhaze.depth import create_depth
from unhaze.depth.base import DepthEstimator
from unhaze.depth.cache import DepthCache, cached_depth
from unhaze.depth.compact import CompactDepth
from unhaze.errors import UnknownNameError, UsageError
from unhaze.models.guided import load_model
from unhaze.recipes import depth_fusion
from unhaze.training.pairs import DataConfig, batches, cached_source, open_data
from unhaze.training.record import LoopConfig
from unhaze.training.steps import OptimizerConfig
from unhaze.types import DepthLevel, DepthMap

DATA = DataConfig("folders", "", "", held_out=2, crop=32, batch=4)
CONFIG = depth_fusion.Config(
    model="aodnet+concat",
    depth="cached:compact",
    data=DATA,
    optimizer=OptimizerConfig("adamw", 2e-3),
    loop=LoopConfig(steps=6, checkpoint_every=2, log_every=1, validate_every=3),
    ema=0.9,
)


class Toy(DepthEstimator):
    """A map and two levels of features, made of brightness; counts its runs."""

    identity, kind = "toy/1", "inverse_relative"
    levels = (DepthLevel(3, 4), DepthLevel(2, 8))

    def __init__(self):
        super().__init__()
        self.runs, self.name = 0, "toy"

    def forward(self, image):
        self.runs += 1
        fine = F.adaptive_avg_pool2d(image, (12, 14))
        return DepthMap(image.mean(1, keepdim=True), self.kind, (fine, F.avg_pool2d(fine[:, :2], 2)))


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    """The folder of the cache."""
    monkeypatch.setenv("UNHAZE_CACHE", str(tmp_path / "kept"))
    return DepthCache()


@pytest.fixture
def toy(monkeypatch):
    """``toy`` is a name of the catalogue."""
    estimator = Toy()
    monkeypatch.setattr(depth_fusion, "create_depth", lambda name, **options: {"toy": estimator}[name])
    return estimator


def weights(state):
    parts = (state.network.state_dict(), state.average.network.state_dict())
    return torch.cat([value.flatten().float() for part in parts for value in part.values()])


def trained(folder, out, resume=None, **changes):
    return weights(depth_fusion.train(dataclasses.replace(CONFIG, **changes), folder, out, resume=resume))


def test_the_estimator_runs_once_per_picture_and_a_killed_run_resumes_exactly(
    pairs_folder, tmp_path, monkeypatch, kept
):
    runs, forward, descend = [], CompactDepth.forward, depth_fusion.descend
    monkeypatch.setattr(CompactDepth, "forward", lambda self, image: runs.append(image.shape) or forward(self, image))

    def dies(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return descend(*arguments)

    calls = []
    with monkeypatch.context() as patch:
        patch.setattr(depth_fusion, "descend", dies)
        with pytest.raises(KeyboardInterrupt):
            trained(pairs_folder, tmp_path / "parts")
    parts = trained(pairs_folder, tmp_path / "parts", resume="auto")
    assert runs == [(1, 3, 48, 56)] * 10  # whole pictures, not views
    assert kept.size().entries == 10
    assert torch.equal(trained(pairs_folder, tmp_path / "kept before"), parts)
    assert len(runs) == 10
    kept.clear()
    assert torch.equal(trained(pairs_folder, tmp_path / "estimated anew"), parts)
    assert not torch.equal(trained(pairs_folder, tmp_path / "live", depth="compact"), parts)


def test_the_map_is_that_of_the_whole_picture_cut_with_the_view(pairs_folder):
    estimator = create_depth("compact")
    source = cached_source(estimator, DATA)
    dataset, held_out = open_data(dataclasses.replace(DATA, turn=True, vertical=True), pairs_folder, 1, source)
    assert len(held_out) == 2
    for index in range(5):
        sample = dataset.at(index)
        found = cached_depth(estimator, DepthCache())(dataset.load(index).hazy).map
        nearness = (found.max() - found) / (found.max() - found.min())
        np.testing.assert_allclose(sample.depth.map, sample.meta["view"].apply(nearness), atol=1e-6)


def places(pixels, name):
    """Features that say where they lie in the whole picture [px]: row and column, at 1/4 and at 1/8."""
    height, width = pixels.shape[:2]
    grids = [np.mgrid[0 : height // side, 0 : width // side] * side + side / 2 for side in (4, 8)]
    return DepthMap(np.zeros((height, width), np.float32), "metric", tuple(each[None] for each in grids))


@pytest.mark.parametrize("crop", [CenterCrop(32), random_view(32, vertical=True, turn=True)])
def test_features_are_cut_mirrored_and_turned_with_the_view(crop):
    pairs = [Pair(str(number), "hazy", "clear") for number in range(12)]
    sides = () if isinstance(crop, CenterCrop) else (16, 4)
    dataset = PairedDataset(
        pairs,
        ".",
        depth=places,
        transform=Compose((crop, FeatureCut(sides))),
        reader=lambda root, name: np.zeros((64, 96, 3), np.uint8),
    )
    rows_and_columns = np.mgrid[0:64, 0:96].transpose(1, 2, 0) + 0.5
    for sample in dataset:
        shown = sample.meta["view"].apply(rows_and_columns)
        for side, found in zip((4, 8), sample.meta["depth_features"], strict=True):
            cell = 32 // found.shape[-1]
            centres = shown.reshape(32 // cell, cell, 32 // cell, cell, 2).mean((1, 3))
            inside = np.clip(centres, side / 2, np.array([64, 96]) - side / 2)  # beyond it the border goes on
            np.testing.assert_allclose(found[0].transpose(1, 2, 0), inside, atol=1e-4)
    assert [each.shape[-2:] for each in dataset[0].meta["depth_features"]] == (
        [(8, 8), (4, 4)] if not sides else [(16, 16), (4, 4)]
    )


def test_features_come_from_the_cache_whoever_makes_the_samples(pairs_folder, tmp_path, toy, kept):
    config = with_toy()
    state = depth_fusion.train(config, pairs_folder, tmp_path / "first")
    assert toy.runs == kept.size().entries == 10
    sites = state.network.fusions.sites
    assert {site.adapt.near.in_channels for site in sites.values()} <= {3, 2}
    assert all(site.pre.weight.abs().max() > 0 for site in sites.values())  # depth was listened to
    workers = dataclasses.replace(config, data=dataclasses.replace(DATA, workers=2))
    again = depth_fusion.train(workers, pairs_folder, tmp_path / "again")
    assert toy.runs == 10
    assert torch.equal(weights(state), weights(again))
    path = depth_fusion.main(config, pairs_folder, tmp_path / "main")
    assert load_model(path, depth=toy).spec.depth == "toy"


def with_toy(**changes):
    return dataclasses.replace(CONFIG, model="aodnet+hgdf", depth="cached:toy", accumulate=2, **changes)


def test_pictures_of_several_sizes_make_a_batch(pairs_folder, tmp_path, toy):
    for name in ("hazy", "clear"):
        (tmp_path / name).mkdir()
        for path in (pairs_folder / name).iterdir():
            size = (40, 72) if path.stem < "5" else (90, 64)
            cv2.imwrite(str(tmp_path / name / path.name), cv2.resize(cv2.imread(str(path)), size))
    dataset, held_out = open_data(DATA, tmp_path, 1, cached_source(toy, DATA, features=True))
    batch = next(batches(dataset, DATA, seed=1, first=0, steps=1))
    # the first picture has 12x14 and 6x7 features on 72x40 px
    assert [tuple(each.shape) for each in batch.features] == [(4, 3, 8, 8), (4, 2, 4, 4)]
    # the middle of a picture of 90x64 px, 64 px wide
    assert held_out[0].meta["depth_features"][0].shape == (1, 3, 12, round(14 * 64 / 90))
    halves = batch.parts(2)
    assert torch.equal(torch.cat([half.features[1] for half in halves]), batch.features[1])


def test_depth_of_other_weights_is_other_data(pairs_folder, tmp_path, toy):
    short = dataclasses.replace(CONFIG.loop, steps=2)
    depth_fusion.train(with_toy(loop=short), pairs_folder, tmp_path / "run")
    toy.identity = "toy/2"
    with pytest.raises(UsageError, match="trained on other pictures"):
        depth_fusion.train(with_toy(loop=short), pairs_folder, tmp_path / "run", resume="auto")


def test_a_rehearsal_needs_no_cache(toy, kept):
    assert depth_fusion.rehearse(with_toy())["seconds_per_step"] > 0
    assert toy.runs == kept.size().entries == 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"depth": "stored"}, "has pictures without depth; take that of an estimator with --set depth=cached:NAME"),
        ({"depth": "shuffled"}, "has pictures without depth"),
        ({"data": dataclasses.replace(DATA, dataset="synthetic")}, "never shows a picture twice"),
        ({"model": "dehazeformer-t+selfpromer"}, "compares depth before and after"),
    ],
)
def test_mistakes(changes, sentence, pairs_folder, tmp_path):
    with pytest.raises(UsageError, match=sentence):
        trained(pairs_folder, tmp_path / "run", **changes)


def test_an_estimator_that_does_not_exist_is_named(pairs_folder, tmp_path):
    with pytest.raises(UnknownNameError, match="compact"):
        trained(pairs_folder, tmp_path / "run", depth="cached:compcat")


def test_a_second_stage_wants_weights_of_the_first():
    config = dataclasses.replace(CONFIG, fresh=False)
    with pytest.raises(UsageError, match=r"--set backbone_weights=FILE, or .* --set fresh=True"):
        depth_fusion.setup(config)


def test_sites_and_options_of_the_estimator_can_be_chosen(monkeypatch):
    seen = {}
    monkeypatch.setattr(depth_fusion, "create_depth", lambda name, **options: seen.update(options) or Toy())
    config = dataclasses.replace(
        CONFIG, depth="toy", model="dehazeformer-t+concat", sites=("enc2",), depth_options=("features=path", "size=28")
    )
    model = depth_fusion.setup(config).network
    assert list(model.fusions.sites) == ["enc2"]
    assert seen == {"features": "path", "size": 28}
    assert model.spec.depth_options == seen
    with pytest.raises(UsageError, match="name=value"):
        depth_fusion.setup(dataclasses.replace(config, depth_options=("features",)))
