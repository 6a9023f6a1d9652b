import threading

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from unhaze.errors import OverBudgetError, UsageError  # noqa: E402
from unhaze.models.base import Model  # noqa: E402
from unhaze.models.layers.norms import InstanceNorm  # noqa: E402
from unhaze.models.layers.stage import run_block  # noqa: E402
from unhaze.restore.engines import torch as module  # noqa: E402
from unhaze.restore.engines.base import NetworkOptions  # noqa: E402
from unhaze.restore.engines.torch import TorchEngine  # noqa: E402
from unhaze.types import ImageContract, Restored  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Strided(Model):
    """Down by four and up again; a pixel of the output sees 14 to each side of it."""

    contract = ImageContract(value_range=(-1.0, 1.0), multiple_of=4, minimum=8, tiling=14)

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.down = nn.Conv2d(3, 8, 4, stride=4)
        self.mid = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 3, 4, stride=4)
        self.last = nn.Conv2d(3, 3, 5, padding=2)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.2, generator=generator)
        self.limit = None
        self.passes = []

    def forward(self, image, run=run_block):
        assert image.shape[-1] % 4 == image.shape[-2] % 4 == 0
        pixels = image.shape[-1] * image.shape[-2]
        if image.device.type != "meta":
            self.passes.append(tuple(image.shape[-2:]))
            if self.limit is not None and pixels > self.limit:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes.")
        return Restored(image + self.last(torch.relu(self.up(self.mid(torch.relu(self.down(image)))))))


class Global(Strided):
    contract = ImageContract(multiple_of=4)

    def forward(self, image, run=run_block):
        restored = super().forward(image, run).image
        return Restored(restored - restored.mean((2, 3), keepdim=True))


def create(network=None, **options):
    return TorchEngine(network or Strided(), "strided-base", NetworkOptions("weights", **options))


def picture(height, width):
    return np.random.default_rng(0).random((height, width, 3), np.float32)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (40, 33), (97, 130)])
def test_the_whole_is_what_restore_gives_clamped(height, width):
    rgb = picture(height, width)
    network = Strided().eval()
    with torch.no_grad():
        expected = network.restore(torch.from_numpy(rgb).permute(2, 0, 1)[None]).image.clamp(0, 1)
    output = create().restore(rgb)
    assert output.tiles == 1
    assert output.rgb.shape == rgb.shape
    np.testing.assert_allclose(output.rgb, expected[0].permute(1, 2, 0).numpy(), atol=1e-6)


@pytest.mark.parametrize("tile", [16, 21, 64])
@pytest.mark.parametrize(("height", "width"), [(97, 130), (16, 200), (3, 90)])
def test_tiles_give_the_whole(height, width, tile):
    rgb = picture(height, width)
    whole, tiled = create().restore(rgb), create(tile=tile).restore(rgb)
    assert tiled.tiles > 1
    np.testing.assert_allclose(tiled.rgb, whole.rgb, rtol=1e-5, atol=1e-6)


def test_too_little_overlap_would_be_found_out():
    class Blind(Strided):
        contract = ImageContract(value_range=(-1.0, 1.0), multiple_of=4, tiling=0)

    rgb = picture(97, 130)
    assert np.abs(create(Blind(), tile=32).restore(rgb).rgb - create(Blind()).restore(rgb).rgb).max() > 1e-3


def test_tiles_shrink_to_the_budget_and_the_estimate_says_so():
    engine, rgb = create(), picture(500, 600)
    fixed = module._LIBRARY + 2 * engine.weights_memory
    whole = engine.memory_needed(500, 600, 1 << 40)
    budget = fixed + (whole - fixed) // 4
    assert fixed < engine.memory_needed(500, 600, budget) <= budget
    output = engine.restore(rgb, budget)
    assert output.tiles > 1
    np.testing.assert_allclose(output.rgb, create().restore(rgb).rgb, rtol=1e-5, atol=1e-6)


def test_where_memory_runs_out_tiles_are_halved_and_what_is_done_stays():
    rgb = picture(200, 240)
    expected = create().restore(rgb).rgb
    network = Strided()
    network.limit = 110 * 110
    output = create(network).restore(rgb)
    np.testing.assert_allclose(output.rgb, expected, rtol=1e-5, atol=1e-6)
    failed = [shape for shape in network.passes if shape[0] * shape[1] > network.limit]
    assert 1 <= len(failed) <= 3
    assert len(network.passes) - len(failed) == output.tiles > 1


def test_memory_that_never_suffices_ends_in_a_sentence():
    network = Strided()
    network.limit = 10
    with pytest.raises(OverBudgetError, match="even in the smallest tiles"):
        create(network).restore(picture(100, 100))
    with pytest.raises(OverBudgetError, match="even in the smallest tiles"):
        create().restore(picture(100, 100), 1000)


def test_other_errors_are_not_taken_for_want_of_memory():
    class Broken(Strided):
        def forward(self, image, run=run_block):
            if image.device.type == "meta":
                return super().forward(image, run)
            raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        create(Broken()).restore(picture(20, 20))


def test_a_network_that_sees_everything_is_refused_tiles():
    with pytest.raises(UsageError, match="whole picture at once"):
        create(Global(), tile=64)
    engine = create(Global())
    assert not engine.tileable
    assert engine.restore(picture(50, 70)).tiles == 1
    with pytest.raises(OverBudgetError, match=r"whole picture at once.*smaller"):
        engine.restore(picture(500, 700), module._LIBRARY + (1 << 20))
    network = Global()
    network.limit = 100
    with pytest.raises(OverBudgetError, match="whole picture at once"):
        create(network).restore(picture(50, 70))


def test_a_picture_beyond_all_memory_is_refused_before_the_system_ends_us(monkeypatch):
    monkeypatch.setattr(module, "available_memory", lambda: 1 << 20)
    with pytest.raises(OverBudgetError):
        create(Global()).restore(picture(500, 700))


def test_training_forms_are_folded():
    class Unfolded(Strided):
        def folded(self):
            return Strided()

    assert type(create(Unfolded())._network) is Strided


def test_threads_agree():
    engine, pictures = create(), [picture(30 + i, 40) for i in range(4)]
    expected = [engine.restore(rgb).rgb for rgb in pictures]
    results = [None] * 4

    def work(i):
        results[i] = engine.restore(pictures[i]).rgb

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, wanted)


def test_bfloat16_is_left_where_it_is_not_there(monkeypatch):
    monkeypatch.setattr(module, "_has_bf16", lambda device: False)
    output = create(precision="bf16").restore(picture(20, 20))
    assert output.precision == "fp32"
    assert "no bfloat16" in output.notes[0]


@pytest.mark.parametrize(("tolerance", "precision"), [(1.0, "bf16"), (1e-9, "fp32")])
def test_bfloat16_is_used_only_within_tolerance(monkeypatch, tolerance, precision):
    monkeypatch.setattr(module, "_has_bf16", lambda device: True)
    monkeypatch.setattr(module, "_TOLERANCE", tolerance)
    rgb = picture(40, 30)
    engine = create(precision="bf16")
    output = engine.restore(rgb)
    assert output.precision == precision
    assert bool(output.notes) == (precision == "fp32")
    exact = create().restore(rgb).rgb
    assert np.array_equal(output.rgb, exact) == (precision == "fp32")
    assert np.abs(output.rgb - exact).max() < 0.05


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
def test_a_compiler_that_fails_is_done_without(monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", lambda call, **options: fail)  # the real one takes seconds to be imported
    engine = create(compile=True)
    rgb = picture(20, 30)
    output = engine.restore(rgb)
    assert "no C++ compiler" in output.notes[0]
    np.testing.assert_array_equal(output.rgb, create().restore(rgb).rgb)
    assert engine.restore(rgb).tiles == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's own
def test_the_compiled_network_is_the_same_function():
    rgb = picture(60, 50)
    output = create(compile=True).restore(rgb)
    np.testing.assert_allclose(output.rgb, create().restore(rgb).rgb, rtol=1e-4, atol=1e-5)


class Normed(Strided):
    """Normalised per channel, after a convolution whose outputs are far from zero."""

    contract = ImageContract()

    def __init__(self):
        super().__init__()
        self.norm = InstanceNorm(3)
        with torch.no_grad():
            self.last.bias.fill_(10)

    def forward(self, image, run=run_block):
        return Restored(0.5 + 0.1 * self.norm(self.last(image)))


def test_norms_are_exact_in_the_layout_of_the_engine():
    """torch's own group normalisation is wrong by 2e-3 here."""
    rgb = picture(200, 240)
    with torch.no_grad():
        planes = torch.from_numpy(rgb).permute(2, 0, 1)[None].contiguous().double()
        expected = Normed().eval().double().restore(planes).image.clamp(0, 1)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(create(Normed()).restore(rgb).rgb, expected, atol=1e-5, rtol=0)
