import copy
import inspect
import math

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812

from unhaze.errors import UsageError  # noqa: E402
from unhaze.fusion import create_fusion  # noqa: E402
from unhaze.fusion.hgdf import DepthAwareInteraction, HierarchicalGatedDepthFusion, WindowSelfAttention  # noqa: E402
from unhaze.models.layers.depth_view import DepthView  # noqa: E402
from unhaze.types import DepthLevel, DepthMap, Stage  # noqa: E402

LEVELS = (DepthLevel(6, 4), DepthLevel(10, 14), DepthLevel(5, 14))
STAGE = Stage("enc1", 16, 2)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rand(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def depth_view(batch=1, seed=0, sizes=((9, 11), (5, 6), (5, 6)), dtype=torch.float32):
    features = tuple(
        rand(batch, level.channels, *size, seed=seed + i, dtype=dtype)
        for i, (level, size) in enumerate(zip(LEVELS, sizes, strict=True))
    )
    return DepthView.of(DepthMap(rand(batch, 1, 18, 22, seed=seed).to(dtype), "relative", features))


def fresh(stage=STAGE, levels=LEVELS, **switches):
    torch.manual_seed(3)
    return create_fusion("hgdf", [stage], levels, **switches)


def awake(stage=STAGE, **switches):
    """Weights as after some training: nothing is zero, and depth matters."""
    fusion = fresh(stage, **switches)
    with torch.no_grad():
        for i, parameter in enumerate(fusion.parameters()):
            parameter.add_(rand(*parameter.shape, seed=i), alpha=0.1)
    return fusion


def block(x):
    return x.square() + 0.5


# -- plain references --------------------------------------------------------------------------------------------------


def conv(layer, x):
    """A convolution by its definition, image by image and tap by tap; stride 1, zeros outside."""
    weight, (rows, columns) = layer.weight, layer.kernel_size
    padded = F.pad(x, (columns // 2, columns // 2, rows // 2, rows // 2))
    out = x.new_zeros(x.shape[0], layer.out_channels, *x.shape[2:])
    of_group = layer.out_channels // layer.groups
    for o in range(layer.out_channels):
        first = o // of_group * weight.shape[1]
        for i in range(weight.shape[1]):
            for a in range(rows):
                for b in range(columns):
                    part = padded[:, first + i, a : a + x.shape[2], b : b + x.shape[3]]
                    out[:, o] += weight[o, i, a, b] * part
        if layer.bias is not None:
            out[:, o] += layer.bias[o]
    return out


def chain(layers, x):
    for layer in layers:
        x = conv(layer, x) if isinstance(layer, torch.nn.Conv2d) else x * (1 + torch.erf(x / math.sqrt(2))) / 2
    return x


def plain_window_attention(module, x):
    """Pixel by pixel, with every window cut off at the border of the map."""
    side, heads = module.window, module.num_heads
    qkv = conv(module.query_key_value, x)
    out = torch.zeros_like(x)
    width = x.shape[1] // heads
    for n in range(x.shape[0]):
        for head in range(heads):
            query, key, value = (
                qkv[n, (3 * 0 + p) * x.shape[1] :][head * width : (head + 1) * width] for p in range(3)
            )
            for row in range(x.shape[2]):
                for column in range(x.shape[3]):
                    top, left = row // side * side, column // side * side
                    keys = key[:, top : top + side, left : left + side].flatten(1)
                    values = value[:, top : top + side, left : left + side].flatten(1)
                    scores = [
                        float(query[:, row, column] @ keys[:, k]) / math.sqrt(width) for k in range(keys.shape[1])
                    ]
                    largest = max(scores)
                    exponentials = [math.exp(score - largest) for score in scores]
                    for share, answer in zip(exponentials, values.T, strict=True):
                        out[n, head * width : (head + 1) * width, row, column] += share / sum(exponentials) * answer
    return conv(module.project, out)


def plain_interaction(module, color, depth):
    """Eq. 6 with matrices of (pixels, channels), as the paper writes them; every channel has length 1."""
    query, value = (chain(embed, color).flatten(2).mT for embed in (module.query, module.value))
    key = chain(module.key, depth).flatten(2).mT
    query, key = (x / x.square().sum(1, keepdim=True).sqrt() for x in (query, key))
    alpha = float(module.log_scale.exp())
    out = []
    for q, k, v in zip(query, key, value, strict=True):
        product = k.T @ q / alpha
        mixed = torch.zeros_like(v)
        for asking in range(v.shape[1]):
            exponentials = [math.exp(float(score)) for score in product[:, asking]]
            for answering, share in enumerate(exponentials):
                mixed[:, asking] += v[:, answering] * share / sum(exponentials)
        out.append(mixed.T)
    return torch.stack(out).view_as(color)


def plain_site(site, x, depth, add_depth=True, depth_key=True, copy=True):
    """Eqs. 2 to 9 one after the other."""
    deepest, alike = depth.features[2], depth.features[1:]  # of the stride of the stage, the last one
    plain = conv(site.adapt.near, deepest) + conv(site.adapt.all, torch.cat(alike, 1))
    plain = plain * (1 + torch.erf(plain / math.sqrt(2))) / 2
    plain, opened = (F.interpolate(y, x.shape[2:], mode="bilinear") for y in (plain, conv(site.pre, plain)))
    if not copy:
        return block(x + opened)
    seen = x + opened if add_depth else x
    x_a = seen + plain_window_attention(site.encoder, seen)
    key = x_a if not depth_key else plain if add_depth else opened
    x_i = plain_interaction(site.interaction, x_a, key)
    weight = torch.sigmoid(conv(site.channel_gate.weigh, x_i.mean((2, 3), keepdim=True)))
    x_g = x_a + weight * x_i
    x_f = x_g + chain(site.feed_forward, x_g)
    gate = torch.sigmoid(chain(site.spatial_gate.phi, x_f))
    return block(x) + conv(site.post, gate * x_f + seen)


@pytest.mark.parametrize("size", [(8, 8), (3, 5), (9, 17)])
@pytest.mark.parametrize("channels", [4, 16])
def test_window_attention_is_that_of_plain_loops(size, channels):
    torch.manual_seed(0)
    module = WindowSelfAttention(channels).double()
    x = rand(2, channels, *size, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(module(x), plain_window_attention(module, x), rtol=1e-10, atol=1e-12)


def test_windows_in_bands_are_those_of_the_whole(monkeypatch):
    monkeypatch.setattr("unhaze.models.layers.bands.BAND", 1)
    module, x = WindowSelfAttention(8), rand(1, 8, 37, 21)
    together = module(x).detach()
    with torch.no_grad():
        torch.testing.assert_close(module(x), together)


def test_interaction_is_that_of_plain_loops():
    torch.manual_seed(0)
    module = DepthAwareInteraction(6).double()
    with torch.no_grad():
        module.log_scale.fill_(-2)  # sharp enough that a wrong axis of the softmax shows
        color, depth = (3 * rand(2, 6, 7, 5, seed=seed, dtype=torch.float64) for seed in (1, 2))
        expected = plain_interaction(module, color, depth)
        torch.testing.assert_close(module(color, depth), expected, rtol=1e-10, atol=1e-12)


def test_the_scale_of_the_interaction_does_not_depend_on_the_size():
    torch.manual_seed(0)
    module = DepthAwareInteraction(6)
    module.query = module.key = module.value = torch.nn.Identity()  # borders would differ
    color, depth = rand(1, 6, 5, 4, seed=1), rand(1, 6, 5, 4, seed=2)
    torch.testing.assert_close(
        module(color.repeat(1, 1, 3, 2), depth.repeat(1, 1, 3, 2)), module(color, depth).repeat(1, 1, 3, 2)
    )


def test_half_precision_does_not_overflow():
    module = DepthAwareInteraction(4).to(torch.bfloat16).half()
    module.query = module.key = module.value = torch.nn.Identity()
    x = torch.full((1, 4, 512, 512), 4.0, dtype=torch.half)  # sums of products are 64 times the largest number
    assert module(x, x).isfinite().all()


FORMS = [{}, {"add_depth": False}, {"depth_key": False}, {"copy": False}]


@pytest.mark.parametrize("switches", FORMS)
def test_a_site_is_the_equations(switches):
    fusion = awake(Stage("enc1", 16, 14), **switches).double()
    x, depth = rand(2, 16, 5, 9, dtype=torch.float64), depth_view(2, dtype=torch.float64)
    with torch.no_grad():
        fused = fusion.runner(depth)("enc1", block, x)
        torch.testing.assert_close(fused, plain_site(fusion.sites["enc1"], x, depth, **switches), rtol=1e-9, atol=1e-11)


# -- what is promised of fresh weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize("switches", [*FORMS, {"zero_pre": False}, {"spatial_gate": False, "feed_forward": False}])
def test_fresh_weights_change_nothing(switches):
    x = rand(1, 16, 12, 9)
    with torch.no_grad():
        assert torch.equal(fresh(**switches).runner(depth_view())("enc1", block, x), block(x))


def test_without_zero_post_they_do():
    x = rand(1, 16, 12, 9)
    with torch.no_grad():
        assert not torch.equal(fresh(zero_post=False).runner(depth_view())("enc1", block, x), block(x))


def without_gradient(fusion):
    fusion.zero_grad()
    x = rand(2, 16, 12, 9)
    (fusion.runner(depth_view(2))("enc1", block, x) - rand(2, 16, 12, 9, seed=1)).square().mean().backward()
    return {
        name.removeprefix("sites.enc1.")
        for name, parameter in fusion.named_parameters()
        if parameter.grad is None or parameter.grad.abs().max() == 0
    }


def step(fusion):
    torch.optim.Adam(fusion.parameters(), lr=1e-2, eps=1e-20).step()


def test_zero_convolutions_learn_one_after_the_other():
    fusion = fresh(add_depth=False)
    names = {name.removeprefix("sites.enc1.") for name, _ in fusion.named_parameters()}
    assert fusion.learns_after == 2
    assert without_gradient(fusion) == names - {"post.weight", "post.bias"}
    step(fusion)
    behind_pre = {name for name in names if name.startswith("adapt.")}
    assert without_gradient(fusion) == behind_pre | {"interaction.key.0.weight"}
    step(fusion)
    assert without_gradient(fusion) == set()


@pytest.mark.parametrize(
    ("switches", "steps"),
    [
        ({}, 1),
        ({"zero_pre": False}, 1),
        ({"zero_post": False}, 0),
        ({"zero_pre": False, "zero_post": False}, 0),
        ({"depth_key": False}, 2),
        ({"copy": False}, 1),
        ({"copy": False, "zero_pre": False}, 0),
        ({"add_depth": False, "zero_pre": False}, 1),
        ({"add_depth": False, "zero_post": False}, 1),
    ],
)
def test_everything_learns_after_the_steps_that_it_says(switches, steps):
    fusion = fresh(**switches)
    assert fusion.learns_after == steps
    for _ in range(steps):
        assert without_gradient(fusion)
        step(fusion)
    assert without_gradient(fusion) == set()


# -- where depth gets to (P2, Eq. 2) -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("switches", "knows"), [({}, True), ({"depth_key": False}, True), ({"add_depth": False}, False)]
)
def test_a_pixel_knows_its_depth_where_depth_is_added(switches, knows):
    """Depth that changes in a corner changes the result there much more than far away; as key alone it does not."""
    x = rand(1, 16, 48, 48)
    near = torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(1))
    other = near.clone()
    other[..., :16, :16] = 1 - other[..., :16, :16]
    with torch.no_grad():
        fusion = create_fusion("hgdf", [STAGE], (DepthLevel(1, 1),), **switches)
        for i, parameter in enumerate(fusion.parameters()):
            parameter.add_(rand(*parameter.shape, seed=i), alpha=0.1)
        one, two = (fusion.runner(DepthView(each, (each,)))("enc1", block, x) for each in (near, other))
    change = (one - two).abs()
    assert change.max() > 0
    assert (change[..., :12, :12].mean() > 20 * change[..., 28:, 28:].mean()) == knows


@pytest.mark.parametrize("switches", [{"add_depth": False, "depth_key": False}, {"add_depth": False, "copy": False}])
def test_switches_that_leave_depth_no_way_in_are_refused(switches):
    with pytest.raises(UsageError, match="no way in"):
        fresh(**switches)


# -- switches, P2 Tables 3 and 6 ---------------------------------------------------------------------------------------

ALWAYS = {"adapt", "pre", "encoder", "interaction", "post"}


@pytest.mark.parametrize(
    ("switches", "parts"),
    [
        ({"channel_gate": False, "feed_forward": False, "spatial_gate": False}, set()),
        ({"channel_gate": False, "feed_forward": False}, {"spatial_gate"}),
        ({}, {"channel_gate", "feed_forward", "spatial_gate"}),
        ({"zero_pre": False, "zero_post": False}, {"channel_gate", "feed_forward", "spatial_gate"}),
    ],
)
def test_switches_leave_parts_out(switches, parts):
    fusion = awake(**switches)
    assert {name.split(".")[2] for name, _ in fusion.named_parameters()} == ALWAYS | parts
    x = rand(1, 16, 9, 12)
    with torch.no_grad():
        one = fusion.runner(depth_view())("enc1", block, x)
        other = fusion.runner(depth_view(seed=7))("enc1", block, x)
    assert one.isfinite().all()
    assert not torch.equal(one, other)


def test_without_gates_their_factor_is_one():
    fusion = awake(channel_gate=False, feed_forward=False, spatial_gate=False)
    site, x, depth = fusion.sites["enc1"], rand(1, 16, 9, 12), depth_view()
    with torch.no_grad():
        plain, opened = site.depth_at(depth, (9, 12))
        x_a = x + opened + site.encoder(x + opened)
        expected = x_a + site.interaction(x_a, plain) + x + opened
        torch.testing.assert_close(site.guide(x, depth), expected)


def test_all_switches_are_reported_by_the_signature():
    switches = {"channel_gate", "feed_forward", "spatial_gate", "zero_pre", "zero_post"}
    switches |= {"add_depth", "depth_key", "copy"}
    assert switches <= set(inspect.signature(HierarchicalGatedDepthFusion).parameters)


# -- depth -------------------------------------------------------------------------------------------------------------


def test_of_maps_of_one_size_the_deepest_is_taken():
    assert [fresh(Stage("s", 8, stride)).sites["s"].adapt.level for stride in (1, 4, 8, 16)] == [0, 0, 2, 2]


def test_depth_of_a_crop_is_the_crop_of_depth():
    site = awake().sites["enc1"]
    whole = depth_view(sizes=((8, 12), (8, 12), (8, 12)))
    with torch.no_grad():
        everywhere = site.depth_at(whole, (32, 48))
        parts = site.depth_at(whole.crop(0.25, 0.5, 0.75, 1.0), (16, 24))
    for part, all_of_it in zip(parts, everywhere, strict=True):
        torch.testing.assert_close(part, all_of_it[:, :, 8:24, 24:48])


def test_mapped_replaces_one_level():
    view = depth_view().crop(0.1, 0.2, 0.6, 0.9)
    mapped = view.mapped(1, torch.neg)
    assert mapped.box == view.box
    assert mapped.features[0] is view.features[0]
    torch.testing.assert_close(mapped.feature_at(1, (7, 9)), -view.feature_at(1, (7, 9)))


def test_projecting_before_resizing_is_projecting_after():
    layer, view = torch.nn.Conv2d(10, 4, 1), depth_view().crop(0.1, 0.2, 1.1, 0.9)
    with torch.no_grad():
        after = layer(view.feature_at(1, (21, 33)))
        torch.testing.assert_close(view.mapped(1, layer).feature_at(1, (21, 33)), after)


# -- sizes, copies, export ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (8, 8), (13, 7), (16, 25)])
def test_any_size(size):
    fusion = awake()
    for levels in (((1, 1),) * 3, ((3, 40),) * 3):
        with torch.no_grad():
            out = fusion.runner(depth_view(sizes=levels))("enc1", block, rand(1, 16, *size))
        assert out.shape == (1, 16, *size)
        assert out.isfinite().all()


def test_a_depth_map_alone_is_enough():
    fusion = awake(levels=(DepthLevel(1, 1),))
    view = DepthView.of(DepthMap(torch.rand(1, 1, 20, 20), "inverse_relative"))
    with torch.no_grad():
        assert fusion.runner(view)("enc1", block, rand(1, 16, 10, 10)).isfinite().all()


def test_other_stages_are_left_alone():
    x = rand(1, 3, 4, 4)
    assert torch.equal(awake().runner(depth_view())("enc9", block, x), block(x))


def test_inference_in_bands_is_what_training_computes(monkeypatch):
    monkeypatch.setattr("unhaze.models.layers.bands.BAND", 1)
    fusion, x = awake(), rand(1, 16, 67, 9)
    trained = fusion.runner(depth_view())("enc1", block, x).detach()
    with torch.no_grad():
        torch.testing.assert_close(fusion.runner(depth_view())("enc1", block, x), trained)


def test_a_copy_is_independent():
    fusion, x = awake(), rand(1, 16, 9, 12)
    twin = copy.deepcopy(fusion)
    with torch.no_grad():
        before = fusion.runner(depth_view())("enc1", block, x)
        assert torch.equal(twin.runner(depth_view())("enc1", block, x), before)
        for parameter in twin.parameters():
            parameter.add_(1)
        assert torch.equal(fusion.runner(depth_view())("enc1", block, x), before)


class Exported(torch.nn.Module):
    def __init__(self, fusion):
        super().__init__()
        self.fusion = fusion

    def forward(self, x, near, *features):
        return self.fusion.runner(DepthView(near, features, (0.0, 0.0, 1.1, 1.0)))("enc1", block, x)


@pytest.mark.parametrize("switches", FORMS)
def test_exports(switches):
    model, view = Exported(awake(**switches)).eval(), depth_view()
    inputs = (rand(1, 16, 9, 16), view.nearness, *view.features)
    exported = torch.export.export(model, inputs).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(*inputs), model(*inputs))
