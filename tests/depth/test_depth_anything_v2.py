"""Depth Anything V2 and Distill-Any-Depth: equal to the official code, from any source of weights, offline."""

import copy
import json
import logging
import re
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tests import parity  # noqa: E402

from unhaze.depth import _depth_anything as family  # noqa: E402
from unhaze.depth import create_depth, depth_info, list_depth  # noqa: E402
from unhaze.depth.base import DepthEstimator, announce_license  # noqa: E402
from unhaze.depth.depth_anything_v2 import depth_anything_v2_small  # noqa: E402
from unhaze.errors import MissingDependencyError, UnknownNameError, UsageError, WeightsNotFoundError  # noqa: E402
from unhaze.models.checkpoints.reading import WeightsError  # noqa: E402
from unhaze.models.layers.depth_view import DepthView  # noqa: E402
from unhaze.types import DepthLevel  # noqa: E402

NAME = "depth-anything-v2-small"
TINY = family.Size(12, 4, 2, (1, 2, 3, 4), (4, 6, 8, 10), 8)
NAMES = [name for name in list_depth() if name.startswith(("depth-anything", "distill-any"))]
# queries, keys and values as the files on the hub name them
HUB_NAMES = {
    r"\.attention\.q_proj\.": ".attention.attention.query.",
    r"\.attention\.k_proj\.": ".attention.attention.key.",
    r"\.attention\.v_proj\.": ".attention.attention.value.",
    r"\.attention\.o_proj\.": ".attention.output.dense.",
}
OFFICIAL_NAMES = [
    (r"^backbone\.embeddings\.position_embeddings", "pretrained.pos_embed"),
    (r"^backbone\.embeddings\.patch_embeddings\.projection", "pretrained.patch_embed.proj"),
    (r"^backbone\.embeddings\.", "pretrained."),
    (r"^backbone\.encoder\.layer\.", "pretrained.blocks."),
    (r"^backbone\.layernorm", "pretrained.norm"),
    (r"\.attention\.o_proj", ".attn.proj"),
    (r"\.layer_scale(\d)\.lambda1", r".ls\1.gamma"),
    (r"^neck\.reassemble_stage\.layers\.(\d)\.projection", r"depth_head.projects.\1"),
    (r"^neck\.reassemble_stage\.layers\.(\d)\.resize", r"depth_head.resize_layers.\1"),
    (r"^neck\.convs\.(\d)", lambda found: f"depth_head.scratch.layer{int(found[1]) + 1}_rn"),
    (r"^neck\.fusion_stage\.layers\.(\d)", lambda found: f"depth_head.scratch.refinenet{4 - int(found[1])}"),
    (r"(refinenet\d)\.projection", r"\1.out_conv"),
    (r"residual_layer(\d)\.convolution(\d)", r"resConfUnit\1.conv\2"),
    (r"^head\.conv1", "depth_head.scratch.output_conv1"),
    (r"^head\.conv2", "depth_head.scratch.output_conv2.0"),
    (r"^head\.conv3", "depth_head.scratch.output_conv2.2"),
]


@pytest.fixture(scope="module")
def tiny():
    """A small network with random weights; its position embeddings are for 4 x 4 patches."""
    config = family.network_config(TINY)
    config.backbone_config.image_size = 56
    network = transformers.DepthAnythingForDepthEstimation(config)
    alive = {"head.conv2.bias": 0.5, "head.conv3.bias": 1.0}  # keeps the last rectifiers alive
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            parameter.copy_(torch.from_numpy(parity.fill(key, parameter.shape, 0, 0.7, alive.get(key))))
    return network


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny")
    tiny.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def image():
    return torch.rand(2, 3, 45, 61, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, and an empty cache of the hub; returns where that lies."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def estimator(folder, **options):
    return create_depth(NAME, weights=folder, **{"longest": 84, **options})


def official_names(state):
    """The inverse of what the estimator does, written down separately."""
    renamed = {}
    for key, tensor in state.items():
        for pattern, official in OFFICIAL_NAMES:
            key = re.sub(pattern, official, key)
        renamed[key] = tensor
    for key in [key for key in renamed if ".attention.q_proj." in key]:
        parts = [renamed.pop(key.replace("q_proj", f"{name}_proj")) for name in "qkv"]
        renamed[key.replace(".attention.q_proj.", ".attn.qkv.")] = torch.cat(parts)
    return renamed


@pytest.mark.parametrize(
    ("fixture_name", "name"),
    [
        ("depth_anything_v2-s", "depth-anything-v2-small"),
        pytest.param("depth_anything_v2-b", "distill-any-depth-base", marks=pytest.mark.slow),
    ],
)
def test_equals_the_official_code(fixture_name, name, tmp_path):
    fixture = parity.load(fixture_name)
    torch.save(fixture.official_state(), tmp_path / "official.pth")
    ours = create_depth(name, weights=tmp_path / "official.pth", longest=98)
    with torch.inference_mode():
        depth = ours(fixture.image())  # 70 x 98, which is the estimator's own size too
    assert fixture.error("depth", depth.map[:, 0]) < fixture.limit("depth")
    assert fixture.error("depth", ours.network((fixture.image() - ours.mean) / ours.std).predicted_depth) > 1e-5, (
        "transformers resamples position embeddings as the official code does: positions_on is no longer needed"
    )
    assert sum(p.numel() for p in ours.parameters()) == fixture.manifest["parameters"]


def test_all_six_are_in_the_catalogue():
    assert len(NAMES) == 6
    assert set(NAMES) <= set(list_depth())


@pytest.mark.parametrize("features", ["vit", "path"])
@pytest.mark.parametrize("size", [(45, 61), (84, 70), (1, 200), (130, 33)])
def test_levels_are_true(folder, features, size):
    ours = estimator(folder, features=features)
    with torch.inference_mode():
        depth = ours(torch.rand(1, 3, *size))
    assert depth.map.shape == (1, 1, *size)
    assert depth.map.isfinite().all()
    seen = [max(14, round(side * 84 / max(size) / 14) * 14) for side in size]
    declared = [(level.channels, *(side / level.stride for side in seen)) for level in ours.levels]
    assert [tuple(level.shape[1:]) for level in depth.features] == declared
    strides = [level.stride for level in ours.levels]
    assert strides == ([14] * 4 if features == "vit" else [1.75, 3.5, 7, 14])


@pytest.mark.parametrize(("features", "finest"), [("vit", DepthLevel(384, 14)), ("path", DepthLevel(64, 1.75))])
def test_levels_of_the_real_network(features, finest, monkeypatch):
    """By shapes alone, without weights."""
    monkeypatch.setattr(family, "digest", lambda network: "")
    with torch.device("meta"):
        network = transformers.DepthAnythingForDepthEstimation(family.network_config(family.SIZES["small"]))
        ours = family.DepthAnything(network, *depth_anything_v2_small.args, features)
        depth = ours(torch.rand(1, 3, 518, 518))
    sides = [round(518 / level.stride) for level in ours.levels]
    assert [tuple(level.shape[1:]) for level in depth.features] == [(finest.channels, side, side) for side in sides]
    assert ours.levels[0] == finest


@pytest.mark.parametrize("size", family.SIZES)
def test_parameters_are_those_of_the_paper(size):
    with torch.device("meta"):
        network = transformers.DepthAnythingForDepthEstimation(family.network_config(family.SIZES[size]))
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == {"small": 24_785_089, "base": 97_470_785, "large": 335_315_649}[size]


def test_features_are_the_networks_own(tiny, folder):
    """Against transformers, at the one size at which it does not resample position embeddings."""
    image = torch.rand(1, 3, 56, 56)
    ours = estimator(folder, longest=56), estimator(folder, longest=56, features="path")
    pixels = (image - ours[0].mean) / ours[0].std
    with torch.inference_mode():
        vit, path = (one(image).features for one in ours)
        tokens = tiny.eval().backbone(pixels).feature_maps
        expected = [t[:, 1:].permute(0, 2, 1).reshape(1, 12, 4, 4) for t in tokens]
        coarse_to_fine = tiny.neck(tokens, 4, 4)
        depth = tiny(pixels).predicted_depth
    torch.testing.assert_close(list(vit), expected)
    torch.testing.assert_close(list(path), coarse_to_fine[::-1])
    torch.testing.assert_close(ours[0](image).map[:, 0], depth)


def test_near_is_large(folder, image):
    ours = estimator(folder)
    depth = ours(image[:1])
    assert depth.kind == ours.kind == "inverse_relative"
    assert not depth.far_is_large
    nearness = DepthView.of(depth).nearness
    assert nearness.flatten()[depth.map.argmax()] == 1
    assert nearness.flatten()[depth.map.argmin()] == 0


def test_a_batch_equals_single_images(folder, image):
    ours, image = estimator(folder, features="path").double(), image.double()
    both = ours(image)
    for i in range(2):
        one = ours(image[i : i + 1])
        torch.testing.assert_close(both.map[i], one.map[0])
        torch.testing.assert_close([f[i] for f in both.features], [f[0] for f in one.features])


def test_it_is_frozen_and_repeatable(folder, image):
    ours = estimator(folder)
    assert not ours.training
    assert not any(parameter.requires_grad for parameter in ours.parameters())
    with torch.inference_mode():
        assert torch.equal(ours(image).map, ours(image).map)
    assert not ours(image).map.requires_grad
    asked = image.clone().requires_grad_()
    ours(asked).map.sum().backward()
    assert asked.grad.abs().sum() > 0, "a loss on the depth of a network's output needs the gradient"


def test_a_copy_stands_alone(folder, image):
    ours = estimator(folder)
    other = copy.deepcopy(ours)
    before = ours(image).map
    torch.testing.assert_close(other(image).map, before, rtol=0, atol=0)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    torch.testing.assert_close(ours(image).map, before, rtol=0, atol=0)


def test_threads_do_not_disturb_each_other(folder):
    ours = estimator(folder, features="path")
    images = [torch.rand(1, 3, 20 + 9 * i, 60) for i in range(8)]
    expected = [ours(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ours, images))
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one.map, other.map)
        torch.testing.assert_close(one.features, other.features)


def test_other_precisions(folder, image):
    depth = estimator(folder)(image.double())
    assert depth.map.dtype == torch.float64
    half = estimator(folder).to(torch.bfloat16)(image.bfloat16())
    assert half.map.dtype == half.features[0].dtype == torch.bfloat16
    assert half.map.isfinite().all()


def test_it_exports(folder):
    ours, image = estimator(folder, features="path"), torch.rand(1, 3, 45, 61)
    exported = torch.export.export(ours, (image,)).module()(image)
    torch.testing.assert_close(exported.map, ours(image).map)
    torch.testing.assert_close(exported.features, ours(image).features)


@pytest.mark.parametrize("size", [(120, 160), (777, 600), (518, 518), (1080, 1920)])
def test_official_preprocessing_of_depth_anything(folder, size):
    """The short side becomes 518, the other the nearest multiple of 14; OpenCV's cubic kernel."""
    ours = create_depth(NAME, weights=folder, preprocessing="official")
    picture = np.random.default_rng(0).random((*size, 3), np.float32)
    seen = ours._resize(torch.from_numpy(picture).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    assert min(seen.shape[:2]) == 518
    assert seen.shape[0] % 14 == seen.shape[1] % 14 == 0
    assert abs(seen.shape[0] / seen.shape[1] / (size[0] / size[1]) - 1) < 7 / 518
    np.testing.assert_allclose(seen, cv2.resize(picture, seen.shape[1::-1], interpolation=cv2.INTER_CUBIC), atol=2e-4)


def test_official_preprocessing_of_distill_any_depth(folder):
    ours = create_depth("distill-any-depth-small", weights=folder, preprocessing="official")
    assert ours._resize(torch.rand(1, 3, 30, 90)).shape == (1, 3, 700, 700)


def test_the_official_map_is_enlarged_with_aligned_corners(folder, image, monkeypatch):
    ours = create_depth(NAME, weights=folder, preprocessing="official")
    ours.official_size = lambda height, width: (42, 56)
    small = torch.nn.functional.interpolate(image, size=(42, 56), mode="bicubic", align_corners=False)
    near = create_depth(NAME, weights=folder, longest=56)(small).map  # at its own size, so not resized
    expected = torch.nn.functional.interpolate(near, size=image.shape[-2:], mode="bilinear", align_corners=True)
    torch.testing.assert_close(ours(image).map, expected)


def test_position_embeddings_are_resampled_as_by_dinov2():
    positions = torch.rand(1, 17, 2)
    assert family.positions_on(positions, 4, 4) is positions
    found = family.positions_on(positions, 2, 3)
    assert found.shape == (1, 7, 2)
    assert torch.equal(found[:, 0], positions[:, 0])
    # source position of a target pixel's centre, cubic weights with a = -3/4, borders repeated
    grid = positions[0, 1:].reshape(4, 4, 2).double().numpy()
    for axis, count in ((0, 2), (1, 3)):
        where = (np.arange(count) + 0.5) * 4 / (count + 0.1) - 0.5
        taps = np.floor(where).astype(int)[:, None] + np.arange(-1, 3)
        x = np.abs(where[:, None] - taps)
        inner, outer = 1.25 * x**3 - 2.25 * x**2 + 1, -0.75 * (x**3 - 5 * x**2 + 8 * x - 4)
        kernel = np.where(x <= 1, inner, outer)
        grid = np.moveaxis((kernel[:, :, None, None] * np.moveaxis(grid, axis, 0)[taps.clip(0, 3)]).sum(1), 0, axis)
    np.testing.assert_allclose(found[0, 1:].reshape(2, 3, 2), grid, atol=1e-5)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("layout", ["depth anything", "chunked"])
def test_official_files(tiny, folder, image, tmp_path, monkeypatch, suffix, layout):
    monkeypatch.setitem(family.SIZES, "small", TINY)
    monkeypatch.setattr(family, "LONGEST", 56)
    state = official_names(tiny.state_dict())
    assert all(key.startswith(("pretrained.", "depth_head.")) for key in state)
    if layout == "chunked":
        state = {
            key.replace("pretrained.blocks.", "backbone.blocks.0.").replace("pretrained.", "backbone."): tensor
            for key, tensor in state.items()
            if "mask_token" not in key
        }
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        from safetensors.torch import save_file

        save_file({key: tensor.contiguous() for key, tensor in state.items()}, path)
    ours, reference = estimator(path), estimator(folder)
    torch.testing.assert_close(ours(image).map, reference(image).map)
    if layout == "depth anything":
        assert ours.identity == reference.identity, "the same weights from another file"


def test_names_of_the_fixture_are_all_renamed(tmp_path):
    """The inverse above and the rules agree on the real network, not only on the tiny one."""
    with torch.device("meta"):
        network = transformers.DepthAnythingForDepthEstimation(family.network_config(family.SIZES["small"]))
    state = network.state_dict()
    official = official_names(state)
    filled = parity.load("depth_anything_v2-s").manifest["filled"]
    assert {key: list(tensor.shape) for key, tensor in official.items()} == filled
    back = family.from_official(official)
    assert {key: tensor.shape for key, tensor in back.items()} == {key: tensor.shape for key, tensor in state.items()}


def test_a_folder_with_the_names_of_the_hub(tiny, folder, image, tmp_path):
    from safetensors.torch import save_file

    state = tiny.state_dict()
    for ours, hub in HUB_NAMES.items():
        state = {re.sub(ours, hub, key): tensor.contiguous() for key, tensor in state.items()}
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    torch.testing.assert_close(estimator(tmp_path)(image).map, estimator(folder)(image).map)


def test_a_folder_of_metric_depth(folder, tmp_path, image):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"depth_estimation_type": "metric", "max_depth": 20}))
    metric = estimator(tmp_path)
    assert metric(image).kind == metric.kind == "metric"
    assert metric(image).far_is_large
    assert metric.identity != estimator(folder).identity


def test_loading_a_folder_is_quiet(folder, capfd):
    estimator(folder)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", NAMES)
def test_without_network_the_message_says_what_to_download(name, offline):
    with pytest.raises(WeightsNotFoundError) as caught:
        create_depth(name)
    message = str(caught.value)
    assert "\n" not in message
    assert re.search(r"download https://huggingface\.co/\S+\.(pth|safetensors) and give that file as weights", message)
    assert name.split("-")[-1] in message.lower()


def test_a_hub_name_that_is_not_there(offline):
    with pytest.raises(WeightsNotFoundError, match=r"download https://huggingface\.co/someone/something and"):
        create_depth(NAME, weights="someone/something")


@pytest.mark.parametrize("weights", ["nothing", "nothing.pth", "some/nothing.pth", "/no/such/folder", "a//b", ""])
def test_weights_that_are_not_there(weights, offline):
    with pytest.raises((WeightsNotFoundError, WeightsError)) as caught:
        create_depth(NAME, weights=weights)
    assert "hub" in str(caught.value) or "config.json" in str(caught.value)


def test_the_cache_of_the_hub_is_used_offline(folder, offline, image):
    """Laid out as huggingface_hub does it."""
    store = offline / "models--someone--tiny"
    snapshot = store / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for file in folder.iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())
    (store / "refs").mkdir()
    (store / "refs" / "main").write_text("abc")
    torch.testing.assert_close(estimator("someone/tiny")(image).map, estimator(folder)(image).map)
    assert family._from_hub("someone/tiny/model.safetensors", None) == snapshot / "model.safetensors"
    with pytest.raises(WeightsNotFoundError, match="someone/tiny and give its file as weights"):
        create_depth(NAME, weights="someone/tiny/other.pth")


def test_weights_of_another_size_are_refused(tmp_path):
    state = {"pretrained.cls_token": torch.zeros(1, 1, 1024)}
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(
        WeightsError, match="holds the large network, not the small one; use it with distill-any-depth-l"
    ):
        create_depth("distill-any-depth-small", weights=tmp_path / "a.pth")
    family.network_config(family.SIZES["base"]).save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="holds the base network, not the small one"):
        create_depth(NAME, weights=tmp_path)


def break_config(path):
    (path / "config.json").write_text("{")


def take_another_model(path):
    (path / "config.json").write_text('{"model_type": "dpt"}')


def break_weights(path):
    (path / "model.safetensors").write_bytes(b"12345678{")


def remove_weights(path):
    (path / "model.safetensors").unlink()


def drop_tensors(path):
    from safetensors.torch import load_file, save_file

    state = load_file(path / "model.safetensors")
    kept = {key: tensor for key, tensor in state.items() if not key.startswith("head.")}
    save_file(kept, path / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (break_config, "config.json"),
        (take_another_model, "holds dpt, not depth_anything"),
        (break_weights, "damaged"),
        (remove_weights, "damaged or incomplete"),
        (drop_tensors, "lacks 6 tensors"),
    ],
)
def test_folders_that_cannot_be_used(folder, tmp_path, harm, message):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    harm(tmp_path)
    with pytest.raises((WeightsError, WeightsNotFoundError), match=message) as caught:
        estimator(tmp_path)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_used(tmp_path):
    torch.save({"head.weight": torch.zeros(3)}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"does not fit depth-anything-v2-small: \d+ missing"):
        create_depth(NAME, weights=tmp_path / "a.pth")
    torch.save({}, tmp_path / "depth_anything_v2_metric_vkitti_vits.pth")
    with pytest.raises(WeightsError, match="metric depth by its name"):
        create_depth(NAME, weights=tmp_path / "depth_anything_v2_metric_vkitti_vits.pth")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": 84}, UsageError, "unexpected keyword argument 'size'"),
        ({"features": "vits"}, UnknownNameError, "did you mean vit"),
        ({"preprocessing": "offical"}, UnknownNameError, "did you mean official"),
        ({"longest": 13}, UsageError, "at least 14 pixels"),
        ({"longest": 84, "preprocessing": "official"}, UsageError, "leave out longest"),
    ],
)
def test_options_that_cannot_work(folder, options, error, message):
    with pytest.raises(error, match=message):
        create_depth(NAME, weights=folder, **options)


def test_without_transformers_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependencyError, match=r"unhaze\[depth\]"):
        create_depth(NAME, weights=folder)


def test_the_identity_reports_what_the_result_depends_on(tiny, folder, tmp_path):
    same = estimator(folder).identity
    assert same == estimator(folder).identity
    assert same.startswith(f"{NAME}/84/vit/")
    other = copy.deepcopy(tiny)
    with torch.no_grad():
        other.head.conv3.bias.add_(1e-3)
    other.save_pretrained(tmp_path)
    others = [
        estimator(folder, features="path"),
        estimator(folder, longest=70),
        create_depth(NAME, weights=folder, preprocessing="official"),
        create_depth("distill-any-depth-small", weights=folder),
        estimator(tmp_path),
    ]
    assert len({same, *(one.identity for one in others)}) == 6


@pytest.mark.parametrize(
    ("name", "license", "commercial"),
    [
        ("depth-anything-v2-small", "Apache-2.0", True),
        ("depth-anything-v2-base", "CC-BY-NC-4.0", False),
        ("depth-anything-v2-large", "CC-BY-NC-4.0", False),
        ("distill-any-depth-small", "MIT or Apache-2.0", True),
        ("distill-any-depth-base", "made from CC-BY-NC-4.0 weights", None),
        ("distill-any-depth-large", "made from CC-BY-NC-4.0 weights", None),
    ],
)
def test_licences(folder, name, license, commercial):
    ours = create_depth(name, weights=folder)
    assert license in ours.license
    assert depth_info(name).license == ours.license
    assert ours.commercial is commercial


@pytest.mark.parametrize(
    ("commercial", "reported"), [(True, "is allowed"), (False, "not for commercial use"), (None, "not settled")]
)
def test_the_licence_is_announced_once(commercial, reported, caplog):
    ours = DepthEstimator()
    ours.identity, ours.license, ours.commercial = f"some-{commercial}/1", "LICENCE", commercial
    with caplog.at_level(logging.INFO):
        announce_license(ours)
        announce_license(copy.deepcopy(ours))
    (record,) = caplog.records
    assert f"some-{commercial}: LICENCE" in record.getMessage()
    assert reported in record.getMessage()
