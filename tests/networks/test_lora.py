"""Adapters on shared weights: silent at first, merged without loss, refused in words where they cannot be."""

import copy

import pytest
import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from fewstep.errors import RecipeError, WeightsError
from fewstep.networks import MLP, DiT, Lora, LoraFile, UNet, UNet1D, add_lora, adopt_kept, keep, merged
from fewstep.sharing import copy_sharing, shared_names, tie


class Own(nn.Module):
    """A network of somebody else: buffers, a grouped convolution, attention that calls its layers in its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding="same"), nn.BatchNorm2d(8)
        self.apart, self.last = nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.Conv2d(8, 3, 1, bias=False)
        self.mix = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x, label, c=None):
        h = self.apart(self.norm(self.first(x) + label[:, None, None, None]))
        tokens = h.flatten(2).transpose(1, 2)
        return self.last(h + self.mix(tokens, tokens, tokens)[0].transpose(1, 2).reshape(h.shape))


NETS = {
    "unet": (lambda: UNet(channels=3, classes=4, widths=(8, 16)), (3, 8, 8)),
    "dit": (lambda: DiT(channels=3, classes=4, width=32, depth=2), (3, 8, 8)),
    "unet1d": (lambda: UNet1D(channels=3, widths=(8, 16)), (3, 16)),
    "mlp": (lambda: MLP(features=3, classes=4, width=16, depth=2), (3,)),
    "own": (Own, (3, 8, 8)),
}
nets = pytest.mark.parametrize("name", NETS)
bits = pytest.mark.parametrize("bits", ["int8", "bfloat16"])


def base_of(name: str) -> nn.Module:
    """A frozen network, every parameter of which matters."""
    torch.manual_seed(0)
    return awake(NETS[name][0]()).requires_grad_(False).eval()


def awake(net: nn.Module, only: str = "") -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    for key, parameter in net.named_parameters():
        if only in key:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return net


def told(name: str):
    x = torch.randn(4, *NETS[name][1], generator=torch.Generator().manual_seed(2))
    return x, torch.linspace(-1, 1, 4), torch.arange(4) % 4 if name in ("unet", "dit", "mlp") else None


def adapted(base: nn.Module, lora: Lora | None = None) -> nn.Module:
    return add_lora(copy_sharing(base, base.parameters()), lora or Lora(4), base)


@nets
def test_an_adapter_with_b_of_zero_is_the_base_bit_for_bit(name: str):
    base = base_of(name)
    net = adapted(base, Lora(64))  # as large as any layer here: nothing is low about its rank
    assert torch.equal(net(*told(name)), base(*told(name)))
    awake(net, "lora_B")
    assert not torch.allclose(net(*told(name)), base(*told(name)), atol=1e-2)


@nets
@pytest.mark.parametrize("kind", [None, "int8", "bfloat16"])
def test_merged_weights_say_what_the_adapter_says(name: str, kind):
    base = base_of(name)
    net = adapted(base, Lora(4, alpha=6.0))
    kept = base if kind is None else keep(base, kind)
    awake(adopt_kept(net, kept), "lora_")
    whole = merged(net)
    assert torch.allclose(whole(*told(name)), net(*told(name)), atol=3e-5)
    assert whole.state_dict().keys() == base.state_dict().keys()
    assert not {p.data_ptr() for p in whole.parameters()} & {p.data_ptr() for p in net.parameters()}
    for key, layer in net.named_modules():
        if kind is None and isinstance(layer, LoraLayer):
            theirs = layer.get_base_layer().weight + layer.get_delta_weight("default")
            assert torch.allclose(whole.get_submodule(key).weight, theirs, atol=1e-6)


@nets
def test_networks_share_every_weight_and_nothing_that_changes(name: str):
    base = base_of(name)
    one, other = adapted(base), adapted(base)
    mine, theirs = ({id(p) for p in net.parameters()} for net in (one, other))
    assert mine & theirs == {id(p) for p in base.parameters()}
    assert shared_names(one, base) == shared_names(other, base)
    assert {id(b) for b in one.buffers()} & {id(b) for b in base.buffers()} == set()
    one.train()
    before = {key: value.clone() for key, value in base.state_dict().items()}
    one(*told(name))
    assert not base.training
    assert all(torch.equal(value, before[key]) for key, value in base.state_dict().items())


def test_only_the_layers_that_are_named_get_an_adapter():
    base = base_of("unet")
    net = adapted(base, Lora(2, (r"^down\.\d+\.conv1$", "qkv")))
    found = {key.split(".lora_")[0] for key in net.state_dict() if ".lora_" in key}
    assert found == {"down.0.conv1", "down.1.conv1", "middle.attention.qkv"}


def test_layers_whose_change_is_no_low_rank_are_left_alone():
    net = adapted(base_of("own"))
    found = {key.split(".lora_")[0] for key in net.state_dict() if ".lora_" in key}
    assert found == {"first", "last"}


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        ("unet", "down.0.convv1", r"'down.0.convv1'.*found in the name of no layer.*did you mean 'down\.0\.conv1'"),
        ("unet", "^midle", "did you mean 'middle"),
        ("unet", "norm1", "only in '.*norm1', a GroupNorm. Accepted are linear layers"),
        ("own", "apart", "only in 'apart', a Conv2d. Accepted .* convolutions without groups"),
    ],
)
def test_a_target_without_a_layer_is_refused_with_the_nearest(name: str, target: str, message: str):
    with pytest.raises(RecipeError, match=message):
        adapted(base_of(name), Lora(4, (target,)))


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"rank": -3}, {"alpha": 0.0}], ids=str)
def test_numbers_that_make_no_adapter_are_refused(wrong):
    with pytest.raises(RecipeError, match="a rank of 1 or more and an alpha above 0"):
        Lora(**wrong)


def test_a_target_that_is_no_expression_is_refused():
    with pytest.raises(RecipeError, match=r"'down\(' of lora is no regular expression"):
        Lora(4, ("down(",))


def test_a_network_without_layers_is_refused():
    base = nn.Sequential(nn.GroupNorm(1, 3)).requires_grad_(False)
    with pytest.raises(RecipeError, match="without linear layers and convolutions"):
        adapted(base)


def test_tied_networks_have_what_the_base_lacks_for_themselves():
    base = base_of("mlp")
    larger = MLP(features=3, classes=4, width=16, depth=2, second_time=True)
    net = add_lora(tie(larger, base), Lora(2), base)
    own = {key for key, _ in net.named_parameters()} - shared_names(net, base)
    assert {key for key in own if "lora_" not in key} == {key for key in own if key.startswith("context.until.")}
    assert any(key.startswith("context.until.") for key in own)
    assert not any("context.until" in key and "lora_" in key for key in own)


# --- fewer bits

LAYERS = {
    "linear": (lambda: nn.Linear(5, 7), (3, 5)),
    "1d": (lambda: nn.Conv1d(4, 6, 3, padding=1, padding_mode="circular"), (2, 4, 9)),
    "2d": (lambda: nn.Conv2d(4, 8, (3, 1), stride=(2, 1), padding=(2, 0), dilation=(2, 1), groups=2), (2, 4, 8, 5)),
    "same": (lambda: nn.Conv2d(4, 8, (5, 3), padding="same", bias=False), (2, 4, 6, 5)),
    "3d": (lambda: nn.Conv3d(2, 3, 2), (2, 2, 3, 4, 5)),
}


@bits
@pytest.mark.parametrize("name", LAYERS)
def test_kept_layers_equal_plain_ones_with_the_same_weights(name: str, bits):
    """Values, gradients, second derivatives and forward-mode ones, in float64."""
    layer, size = LAYERS[name][0]().double(), LAYERS[name][1]
    kept = keep(nn.Sequential(copy.deepcopy(layer)), bits)
    plain = merged(kept)
    x, v = (torch.randn(size, dtype=torch.float64, requires_grad=i == 0) for i in range(2))
    found = []
    for net in (kept, plain):
        y = net(x)
        (grad,) = torch.autograd.grad(y.sin().sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(grad.square().sum(), x)
        tangents = torch.func.jvp(net, (x.detach(),), (v,))
        found.append((y, grad, second, *tangents))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_int8_is_off_by_half_a_step_at_most_and_zeros_stay_zeros():
    layer = nn.Linear(64, 32).double()
    nn.init.zeros_(layer.weight[3])
    whole = merged(keep(nn.Sequential(layer), "int8"))[0].weight
    step = layer.weight.detach().abs().amax(1, keepdim=True) / 127
    assert ((whole - layer.weight).abs() <= step / 2 * (1 + 1e-9)).all()
    assert not whole[3].any()


@bits
def test_a_kept_network_is_near_and_takes_a_fraction_of_the_bytes(bits):
    base = base_of("dit")
    kept = keep(base, bits)
    off = (kept(*told("dit")) - base(*told("dit"))).square().mean() / base(*told("dit")).square().mean()
    assert 0 < off < 1e-3
    size = {net: sum(p.numel() * p.element_size() for p in net.parameters()) for net in (base, kept)}
    assert size[kept] / size[base] < {"int8": 0.33, "bfloat16": 0.55}[bits]


@bits
def test_the_graph_of_a_kept_layer_keeps_no_weight(bits):
    saved = []
    kept = keep(nn.Sequential(nn.Linear(16, 16), nn.Conv1d(16, 16, 1)), bits)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.shape) or t, lambda t: t):
        kept[1](kept[0](torch.randn(4, 16, requires_grad=True))[..., None])
    assert saved == []


@bits
def test_kept_layers_follow_autocast(bits):
    kept = keep(base_of("unet"), bits)
    x = told("unet")[0].requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = kept(x, *told("unet")[1:])
    out.float().sum().backward()
    assert out.dtype == torch.bfloat16
    assert x.grad.dtype == torch.float32
    assert x.grad.any()


# --- files


def test_a_file_that_is_no_adapter_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="There is no file"):
        LoraFile.read(tmp_path / "lora.safetensors")
    (tmp_path / "lora.safetensors").write_bytes(b"something")
    with pytest.raises(WeightsError, match="is no adapter of fewstep"):
        LoraFile.read(tmp_path / "lora.safetensors")
