"""What every fusion module promises on every network."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest

torch = pytest.importorskip("torch")

from tests.networks import REDUCED, fitting_size, image, network, relative, smallest_of_each_family  # noqa: E402

from unhaze.fusion import create_fusion, list_fusions  # noqa: E402
from unhaze.models.base import prepare  # noqa: E402
from unhaze.models.guided import GuidedDehazer, default_sites  # noqa: E402
from unhaze.models.layers.depth_view import DepthView  # noqa: E402
from unhaze.models.layers.stage import run_block  # noqa: E402
from unhaze.types import DepthLevel, DepthMap  # noqa: E402

# as a small ViT might give them: few channels, coarse
LEVELS = (DepthLevel(6, 4), DepthLevel(8, 8))
FAMILIES = smallest_of_each_family()
PAIRS = [(name, fusion) for name in FAMILIES for fusion in list_fusions()]
ONE_NETWORK = "dehazeformer-t"  # for what does not depend on the network


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def depth_of(height, width, batch=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = tuple(
        torch.randn(
            batch, level.channels, max(1, height // level.stride), max(1, width // level.stride), generator=generator
        )
        for level in LEVELS
    )
    return DepthMap(torch.rand(batch, 1, height, width, generator=generator), "inverse_relative", features)


def view_of(height, width, batch=1, seed=0):
    return DepthView.of(depth_of(height, width, batch, seed), depth_of(height, width, batch, seed + 100))


def fused(name, fusion, **switches):
    """A fresh fusion on a shared network, which nothing here may change."""
    torch.manual_seed(1)
    backbone = network(name)
    sites = [stage for stage in backbone.stages if stage.name in default_sites(name)]
    return GuidedDehazer(backbone, create_fusion(fusion, sites, LEVELS, **switches)).eval()


def awake(model, seed=2):
    """The same with weights that are no longer zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.fusions.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.02)
    return model


def has_weights(model):
    return any(True for _ in model.fusions.parameters())


@pytest.mark.parametrize(("name", "fusion"), PAIRS)
def test_fresh_weights_change_nothing_and_trained_ones_do(name, fusion):
    model = fused(name, fusion)
    public = image(*fitting_size(model.contract))
    view = view_of(*public.shape[-2:])
    with torch.no_grad():
        plain = model.backbone.restore(public).image
        assert torch.equal(model.restore(public, view).image, plain), "identity at initialisation is bit-equal"
        if has_weights(model):
            changed = awake(model).restore(public, view).image
            assert changed.isfinite().all()
            assert not torch.equal(changed, plain)
            other = model.restore(public, view_of(*public.shape[-2:], seed=5)).image
            assert not torch.equal(changed, other), "the result depends on the depth"


@pytest.mark.parametrize(("name", "fusion"), PAIRS)
def test_gradients_reach_every_part_of_the_fusion(name, fusion):
    model = fused(name, fusion)
    if not has_weights(model):
        assert fusion == "zero"
        return
    public = image(*fitting_size(model.contract))
    view = view_of(*public.shape[-2:])

    def gradients():
        model.zero_grad()
        target = 1 - public  # far from any restoration, so that no gradient vanishes by chance
        (model.restore(public, view).image - target).square().mean().backward()
        return {n: p.grad for n, p in model.fusions.named_parameters()}

    try:
        first = gradients()
        for site in model.fusions.sites:
            moved = [
                n for n, g in first.items() if n.startswith(f"sites.{site}.") and g is not None and g.abs().max() > 0
            ]
            assert moved, f"nothing at {site} would ever leave its start"
        now = first
        for _ in range(model.fusions.learns_after):
            with torch.no_grad():
                for n, p in model.fusions.named_parameters():
                    if now[n] is not None:
                        p -= 0.05 * now[n] / now[n].norm().clamp(min=1e-12)
            now = gradients()
        assert [n for n, g in now.items() if g is None or g.abs().max() == 0] == [], "by now everything learns"
    finally:
        model.backbone.zero_grad()


SIZES = [(*pair, (37, 50)) for pair in PAIRS] + [(ONE_NETWORK, fusion, (5, 3)) for fusion in list_fusions()]


@pytest.mark.parametrize(("name", "fusion", "size"), SIZES)
def test_any_size(name, fusion, size):
    model = awake(fused(name, fusion))
    with torch.no_grad():
        restored = model.restore(image(*size), view_of(*size)).image
    assert restored.shape == (1, 3, *size)
    assert restored.isfinite().all()


@pytest.mark.parametrize(("name", "fusion"), PAIRS)
def test_a_stage_is_fused_once(name, fusion):
    """SGDNet runs its encoder on RGB and on YCbCr, but fuses depth into RGB alone."""
    model = fused(name, fusion)
    fusions, times = model.fusions, {}
    for stage, site in fusions.sites.items():
        site.register_forward_hook(lambda *_, stage=stage: times.update({stage: times.get(stage, 0) + 1}))
    size = fitting_size(model.contract)
    with torch.no_grad():
        model(prepare(image(*size), model.contract), view_of(*size))
    assert times == dict.fromkeys(default_sites(name), 1)


@pytest.mark.parametrize(("name", "fusion"), PAIRS)
def test_a_copy_is_independent_and_threads_agree(name, fusion):
    model = awake(fused(name, fusion))
    size = fitting_size(model.contract)
    inputs = [(image(*size, seed=seed), view_of(*size, seed=seed)) for seed in range(2)]

    def run(given):
        with torch.no_grad():
            return model.restore(*given).image

    alone = [run(given) for given in inputs]
    twin = copy.deepcopy(model)
    with torch.no_grad():
        torch.testing.assert_close(twin.restore(*inputs[0]).image, alone[0], rtol=0, atol=0)
        for parameter in twin.parameters():
            parameter.mul_(1.5).add_(0.01)
        assert not torch.equal(twin.restore(*inputs[0]).image, alone[0])
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(run, inputs))
    for i in range(2):
        assert relative(together[i], alone[i]) < 1e-5


@pytest.mark.parametrize("fusion", list_fusions())
def test_a_batch_equals_its_images(fusion):
    model = awake(fused(ONE_NETWORK, fusion))
    size = fitting_size(model.contract)
    public, depth = image(*size, batch=2), view_of(*size, batch=2)
    with torch.no_grad():
        both = model.restore(public, depth).image
        for i in range(2):
            assert relative(model.restore(public[i : i + 1], one_of(depth, i)).image, both[i : i + 1]) < 1e-5


def one_of(view, i):
    restored = None if view.restored is None else one_of(view.restored, i)
    return DepthView(view.nearness[i : i + 1], tuple(x[i : i + 1] for x in view.features), view.box, restored)


class Flat(torch.nn.Module):
    """A model as exporters want it: tensors in, one tensor out."""

    def __init__(self, model, run_fusion):
        super().__init__()
        self.model, self.run_fusion = model, run_fusion

    def forward(self, public, near, near_restored, *features):
        half = len(features) // 2
        view = DepthView(near, features[:half], restored=DepthView(near_restored, features[half:]))
        run = self.model.fusions.runner(view) if self.run_fusion else run_block
        return self.model.backbone(public, run).image


def export_inputs(model):
    size = fitting_size(model.contract)
    view = view_of(*size)
    return (
        prepare(image(*size), model.contract),
        view.nearness,
        view.restored.nearness,
        *view.features,
        *view.restored.features,
    )


@pytest.mark.parametrize("fusion", list_fusions())
def test_exports(fusion):
    check_export(ONE_NETWORK, fusion)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "fusion"), [pair for pair in PAIRS if pair[0] != ONE_NETWORK])
def test_every_pair_exports(name, fusion):
    check_export(name, fusion)


def check_export(name, fusion):
    model = awake(fused(name, fusion))
    inputs = export_inputs(model)
    with torch.no_grad():
        expected = Flat(model, True)(*inputs)
        exported = torch.export.export(Flat(model, True), inputs).module()
        assert relative(exported(*inputs), expected) < 1e-5


# These convolve phases. That of a real coefficient is 0, pi or -pi by its rounding error, so two Fourier libraries
# differ by up to 2 % (SGDNet, onnxruntime against torch, with and without fusion); MITNet does not even convert.
WITHOUT_ONNX = {"mitnet-base", "sgdnet-base"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")  # of the exporter, about itself
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("name", "fusion"), [pair for pair in PAIRS if pair[0] not in WITHOUT_ONNX])
def test_onnx_agrees_with_and_without_fusion(name, fusion, tmp_path):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = awake(fused(name, fusion))
    inputs = export_inputs(model)
    for run_fusion in (False, True):
        flat, path = Flat(model, run_fusion).eval(), tmp_path / f"{run_fusion}.onnx"
        torch.onnx.export(flat, inputs, str(path), dynamo=True, verbose=False)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        feeds = {given.name: inputs[int(number_of(given.name))].numpy() for given in session.get_inputs()}
        ours = torch.from_numpy(session.run(None, feeds)[0])
        with torch.no_grad():
            assert relative(ours, flat(*inputs)) < 1e-4


def number_of(name):
    """Position of an input among those of :class:`Flat`."""
    order = {"public": 0, "near": 1, "near_restored": 2}
    return order[name] if name in order else 3 + int(name.rpartition("_")[2])


def test_reduced_networks_exist():
    families = {name.rsplit("-", 1)[0] for name in FAMILIES}
    assert set(REDUCED) <= families
