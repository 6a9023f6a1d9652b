"""Pictures through a network, with an engine of a few lines in place of torch."""

import os
from dataclasses import dataclass, field

import numpy as np
import pytest
from PIL import Image

from unhaze.errors import (
    ImageValueError,
    MissingDependencyError,
    OverBudgetError,
    UnknownNameError,
    UsageError,
    WeightsNotFoundError,
)
from unhaze.images.files import identify, read_image
from unhaze.restore import network
from unhaze.restore.dehazer import Dehazer
from unhaze.restore.engines.base import NetworkOptions, NetworkOutput


@dataclass
class Darken:
    """Half as bright, in a megabyte and 100 bytes per pixel."""

    name: str = "darken-base"
    device: str = "cpu"
    tileable: bool = False
    budgets: list = field(default_factory=list)
    seen: list = field(default_factory=list)
    result: float = 0.5

    def memory_needed(self, height, width, budget=None):
        return (1 << 20) + 100 * height * width

    def restore(self, rgb, budget=None):
        self.budgets.append(budget)
        self.seen.append(rgb.copy())
        return NetworkOutput(rgb * np.float32(self.result), 1, "fp32", ("told",))


@pytest.fixture
def engine(monkeypatch, tmp_path):
    """The engine behind ``Dehazer(weights=engine.weights)``."""
    engine = Darken()
    engine.weights = tmp_path / "weights.safetensors"
    engine.weights.write_bytes(b"")
    monkeypatch.setattr(network._ENGINES, "load", lambda _: lambda model, options: engine)
    return engine


def create(engine, **options):
    return Dehazer(weights=engine.weights, **options)


@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7), (5, 7, 1), (5, 7, 4), (1, 1, 3)])
@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1), (np.float64, 1)])
def test_arrays_come_back_as_they_were(engine, shape, dtype, white):
    hazy = (np.random.default_rng(0).uniform(0.01, 1, shape) * white).astype(dtype)
    before = hazy.copy()
    restored = create(engine)(hazy).image
    assert restored.dtype == dtype
    assert restored.shape == shape
    np.testing.assert_array_equal(hazy, before)
    colors = slice(None) if len(shape) == 2 else slice(0, 3)
    error = np.abs(restored[..., colors] - hazy[..., colors] / 2.0).max()
    assert error <= (0.5 if white > 1 else 0) + 1e-5 * white
    if shape[-1] == 4:
        np.testing.assert_array_equal(restored[..., 3], hazy[..., 3])


def test_tensors_come_back_as_they_were(engine):
    torch = pytest.importorskip("torch")
    hazy = torch.rand(2, 4, 6, 5, generator=torch.Generator().manual_seed(0)).half()
    result = create(engine)(hazy)
    assert result.image.dtype == torch.float16
    torch.testing.assert_close(result.image[:, :3], hazy[:, :3] / 2, rtol=0, atol=1e-3)
    assert torch.equal(result.image[:, 3], hazy[:, 3])
    assert result.airlight is result.transmission is None


def test_files_keep_type_and_metadata(engine, tmp_path):
    path = tmp_path / "a.png"
    exif = Image.Exif()
    exif[0x010E] = "a hazy day"
    Image.fromarray(np.full((6, 8, 4), 200, np.uint8)).save(path, exif=exif)
    result = create(engine)(path)
    restored = result.image
    assert restored.getexif()[0x010E] == "a hazy day"
    assert restored.mode == "RGBA"
    np.testing.assert_array_equal(np.array(restored)[0, 0], [100, 100, 100, 200])
    output = create(engine)(path, output=tmp_path / "b.png").image
    assert create(engine)(path.read_bytes()).image == output.read_bytes()
    assert np.array(create(engine)(Image.open(path)).image)[0, 0].tolist() == [100, 100, 100, 200]


def test_values_above_one_are_relative_to_the_largest(engine):
    hazy = np.linspace(0, 8, 12, dtype=np.float32).reshape(2, 2, 3)
    np.testing.assert_allclose(create(engine)(hazy).image, hazy / 2, atol=1e-6)
    assert engine.seen[0].max() == 1


def test_strength_blends(engine):
    hazy = np.random.default_rng(1).random((9, 4, 3)).astype(np.float32)
    for strength in (0.25, 0.5, 1.0):
        restored = create(engine, strength=strength)(hazy).image
        np.testing.assert_allclose(restored, (1 - strength) * hazy + strength * hazy / 2, atol=1e-6)


def test_brightness_is_given_back_where_it_is_asked_for(engine):
    hazy = np.random.default_rng(1).random((300, 400, 3)).astype(np.float32)
    own, half, full = (create(engine, keep_exposure=keep)(hazy).image.mean() for keep in (None, 0.5, 1.0))
    assert own == pytest.approx(hazy.mean() / 2, abs=1e-5)
    assert own < half < full < hazy.mean()
    curve = create(engine, keep_exposure=1.0)(np.stack([np.linspace(0, 1, 256, dtype=np.float32)] * 4)).image
    assert np.all(np.diff(curve[0]) > 0)


def test_strength_zero_is_the_picture_bit_for_bit_and_runs_nothing(engine):
    hazy = np.random.default_rng(1).integers(0, 65536, (9, 4, 3), np.uint16)
    np.testing.assert_array_equal(create(engine, strength=0)(hazy).image, hazy)
    assert not engine.seen


def test_strips_leave_no_seam(engine):
    hazy = np.random.default_rng(1).integers(0, 256, (network._ROWS * 2 + 5, 3, 3), np.uint8)
    np.testing.assert_array_equal(create(engine)(hazy).image, (hazy / np.float32(2) + 0.5).astype(np.uint8))


def test_the_network_sees_the_tone_curve_of_srgb(engine, monkeypatch):
    class Curve:
        def to_srgb(self, values):
            return np.sqrt(values)

        def from_srgb(self, values):
            return np.square(values)

    monkeypatch.setattr("unhaze.restore.dehazer.tone_curve", lambda icc: Curve())
    engine.result = 1.0
    pixels = np.random.default_rng(0).integers(0, 65536, (4, 5, 3), np.uint16)
    data = Image.fromarray((pixels >> 8).astype(np.uint8))
    data.info["icc_profile"] = b"a profile"
    result = create(engine)(data)
    np.testing.assert_allclose(engine.seen[0], np.sqrt((pixels >> 8) / 255), atol=1e-6)
    np.testing.assert_array_equal(np.array(result.image), pixels >> 8)


def test_facts_and_notes_are_reported(engine):
    info = create(engine)(np.zeros((2, 2), np.uint8)).info
    assert info["model"] == "darken-base"
    assert info["tiles"] == 1
    assert info["notes"] == ["told"]
    assert info["weights"] == str(engine.weights)


@pytest.mark.parametrize("strength", [-0.5, 1.5, float("nan")])
def test_a_network_cannot_add_haze(engine, strength):
    with pytest.raises(UsageError, match=r"strength is .*between"):
        create(engine, strength=strength)


@pytest.mark.parametrize("option", [{"color_blend": 0.1}, {"protect_sky": 0}, {"spare_clear": 0}])
def test_options_of_methods_are_refused(engine, option):
    with pytest.raises(UsageError, match=f"{next(iter(option))} is for models that find haze"):
        create(engine, **option)


def test_there_is_no_field(engine):
    with pytest.raises(UsageError, match="no haze field"):
        create(engine).solve(np.zeros((2, 2, 3), np.uint8))


@pytest.mark.parametrize("option", [{"device": "tpu"}, {"precision": "int8"}])
def test_unknown_choices_name_the_known(option):
    with pytest.raises(UnknownNameError, match=r"choose one of|did you mean"):
        NetworkOptions("weights", **option)


def test_tiny_tiles_are_refused():
    with pytest.raises(UsageError, match="at least 16"):
        NetworkOptions("weights", tile=3)


def test_missing_weights_are_reported_by_path(tmp_path):
    with pytest.raises(WeightsNotFoundError, match=r"nowhere\.pth"):
        Dehazer(model="aodnet-base", weights=tmp_path / "nowhere.pth")
    with pytest.raises(WeightsNotFoundError, match=r"null is a device or a pipe"):
        Dehazer(model="aodnet-base", weights=os.devnull)
    with pytest.raises(WeightsNotFoundError, match="aodnet-base needs trained weights"):
        Dehazer(model="aodnet-base")


def test_missing_torch_is_reported_with_the_command(engine, monkeypatch):
    def fail(_):
        raise ModuleNotFoundError("no torch", name="torch")

    monkeypatch.setattr(network._ENGINES, "load", fail)
    with pytest.raises(MissingDependencyError, match=r"pip install 'unhaze\[torch\]'"):
        create(engine)


def test_numbers_that_are_none_are_refused(engine):
    engine.result = float("nan")
    with pytest.raises(ImageValueError, match=r"no numbers; check .*weights\.safetensors"):
        create(engine)(np.ones((2, 2, 3), np.float32))


def test_a_picture_that_does_not_fit_is_refused_with_the_reason(engine, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((300, 400, 3), np.uint8)).save(path)
    dehazer = create(engine, max_memory="200M")
    with pytest.raises(OverBudgetError, match="whole picture at once"):
        dehazer(path)
    engine.tileable = True
    with pytest.raises(OverBudgetError, match="raise --max-memory"):
        dehazer(path)
    assert create(engine, max_memory="1G")(path).image.size == (400, 300)
    assert 0 < engine.budgets[-1] < 1 << 30


def test_memory_grows_with_the_network(engine, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((300, 400, 3), np.uint8)).save(path)
    with Dehazer("dcp") as plain:
        difference = create(engine).memory_needed(identify(path)) - plain.memory_needed(identify(path))
    assert difference == (1 << 20) + (100 + network.FLOAT_BYTES) * 300 * 400


def test_restore_in_place(engine):
    picture = read_image(_png())
    pixels = picture.pixels
    result = create(engine).restore(picture, in_place=True)
    assert result.image.pixels is pixels
    assert (pixels == 100).all()


def _png():
    from io import BytesIO

    buffer = BytesIO()
    Image.fromarray(np.full((4, 4, 3), 200, np.uint8)).save(buffer, "png")
    return buffer.getvalue()


@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_the_network_never_sees_hidden_colours(engine, dtype, white):
    rng = np.random.default_rng(0)
    visible = rng.uniform(0.1, 0.9, (20, 30, 4))
    hidden = np.zeros((20, 30), bool)
    hidden[4:9, :20] = hidden[15, 3] = True
    results = []
    for _ in range(2):
        rgba = (np.where(hidden[..., None], rng.random((20, 30, 4)), visible) * white).astype(dtype)
        rgba[..., 3] = np.where(hidden, 0, white)
        restored = create(engine)(rgba).image
        np.testing.assert_array_equal(restored[hidden], rgba[hidden])
        results.append(restored[~hidden])
    np.testing.assert_array_equal(*results)
    np.testing.assert_array_equal(*engine.seen[-2:])
    colours = {tuple(pixel) for pixel in engine.seen[-1][~hidden]}
    assert {tuple(pixel) for pixel in engine.seen[-1][hidden]} <= colours


def test_the_network_sees_no_nan_and_the_white_that_is_found(engine):
    values = np.full((30, 40, 3), 1000, np.uint16) + np.arange(40, dtype=np.uint16)[None, :, None]
    values[2, 3] = 65535
    result = create(engine)(values)
    assert result.info["white"] == 2047
    np.testing.assert_array_equal(result.image[2, 3], values[2, 3])
    holes = np.full((30, 40), 0.5, np.float32)
    holes[3, 4], holes[5, 6] = np.nan, np.inf
    restored = create(engine)(holes).image
    assert np.isfinite(engine.seen[-1]).all()
    assert np.isnan(restored[3, 4])
    assert np.isposinf(restored[5, 6])
    assert np.isfinite(restored).sum() == 30 * 40 - 2
