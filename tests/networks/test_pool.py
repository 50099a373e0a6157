"""Pooled keys and values, and positions at another resolution: a trained DiT goes on from where it is."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from fewstep.errors import RecipeError
from fewstep.networks import DiT, TokenPool
from fewstep.networks.dit import _positions
from fewstep.recipes.assemble import _grown
from fewstep.tapped import listening

GRID, WIDTH = (4, 6), 8


def tokens(seed: int, grid: tuple[int, int] = GRID) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(2, grid[0] * grid[1], WIDTH, generator=draw, dtype=torch.float64)


def in_cells(seed: int, stride: int) -> Tensor:
    """Return tokens that are constant on every cell."""
    few = tokens(seed, (GRID[0] // stride, GRID[1] // stride)).unflatten(1, (GRID[0] // stride, -1))
    return few.repeat_interleave(stride, 1).repeat_interleave(stride, 2).flatten(1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]


@pytest.mark.parametrize(("norm", "equal"), [(False, True), (True, False)])
def test_keys_constant_on_cells_give_full_attention_but_for_the_norm(norm: bool, equal: bool):
    pool, q, k, v = TokenPool(WIDTH, 2, norm).double(), tokens(0), in_cells(1, 2), in_cells(2, 2)
    pooled = attend(q, pool(k, GRID), pool(v, GRID))
    assert torch.allclose(pooled, attend(q, k, v), atol=1e-12, rtol=0) is equal


def test_pool_begins_as_the_mean_of_cells():
    pool, x = TokenPool(WIDTH, 2).double(), tokens(0)
    cells = x.unflatten(1, GRID).unflatten(2, (3, 2)).unflatten(1, (2, 2)).mean((2, 4)).flatten(1, 2)
    torch.testing.assert_close(pool(x, GRID), cells, atol=1e-14, rtol=0)


def test_stride_1_is_the_identity():
    assert torch.equal(TokenPool(WIDTH, 1).double()(tokens(0), GRID), tokens(0))


def test_odd_grids_are_refused_in_words():
    with pytest.raises(RecipeError, match=r"3 x 6 tokens do not divide into cells of 2 x 2.*kv_stride: 2.*more patch"):
        TokenPool(WIDTH, 2)(torch.zeros(1, 18, WIDTH), (3, 6))
    with pytest.raises(RecipeError, match="3 x 4 tokens do not divide"):
        dit(kv_stride=2)(torch.zeros(1, 3, 6, 8), torch.zeros(1))


# --- in a trained network


def dit(**more) -> nn.Module:
    torch.manual_seed(0)
    return DiT(width=32, depth=4, classes=3, **more)


def trained() -> nn.Module:
    net, draw = dit(), torch.Generator().manual_seed(1)
    for parameter in net.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=draw)
    return net


def test_trained_network_keeps_all_its_weights_and_its_shallow_half():
    net, x, label = trained(), torch.randn(2, 3, 8, 8), torch.zeros(2)
    pooled = _grown(net, {"dit": {"width": 32, "depth": 4, "classes": 3, "kv_stride": 2}})
    own = {name for name, _ in pooled.named_parameters()} - {name for name, _ in net.named_parameters()}
    assert own == {f"pools.{layer}.conv.{name}" for layer in (2, 3) for name in ("weight", "bias")}
    assert all(torch.equal(value, pooled.state_dict()[name]) for name, value in net.state_dict().items())
    taps = ["layers.1", "layers.2"]
    with listening(net, taps) as full, listening(pooled, taps) as fewer, torch.no_grad():
        net(x, label)
        pooled(x, label)
    assert torch.equal(full[0], fewer[0])
    assert not torch.equal(full[1], fewer[1])
    assert torch.allclose(full[1], fewer[1], atol=0.5)


def test_images_constant_on_cells_are_answered_as_before():
    """Positions would tell the tokens of a cell apart, so the pooled layer alone is asked."""
    net, pooled = trained().double(), dit(kv_stride=2, kv_layers=[3]).double()
    pooled.load_state_dict(net.state_dict(), strict=False)
    x, embedding = in_cells(0, 2).repeat(1, 1, 4), torch.randn(2, 32, dtype=torch.float64)
    fewer = pooled.layers[3](x, embedding, lambda each: pooled.pools["3"](each, GRID))
    torch.testing.assert_close(fewer, net.layers[3](x, embedding), atol=1e-12, rtol=0)


@pytest.mark.parametrize("settings", [{"kv_stride": 1}, {"kv_stride": 2, "kv_layers": []}], ids=str)
def test_no_pool_changes_no_bit(settings):
    net, x = trained(), torch.randn(2, 3, 8, 8)
    same = dit(**settings)
    same.load_state_dict(net.state_dict())
    assert torch.equal(same(x, torch.zeros(2)), net(x, torch.zeros(2)))


def test_fewer_keys_are_attended_to(monkeypatch: pytest.MonkeyPatch):
    seen = []

    def counted(q, k, v):
        seen.append((q.shape[2], k.shape[2], v.shape[2]))
        return scaled_dot_product_attention(q, k, v)

    monkeypatch.setattr("fewstep.networks.dit.scaled_dot_product_attention", counted)
    dit(kv_stride=4)(torch.zeros(1, 3, 16, 16), torch.zeros(1))
    assert seen == [(64, 64, 64)] * 2 + [(64, 4, 4)] * 2


def test_pools_learn():
    net = trained()
    net = _grown(net, {"dit": {"width": 32, "depth": 4, "classes": 3, "kv_stride": 2, "kv_norm": True}})
    net(torch.randn(2, 3, 8, 8), torch.zeros(2)).square().sum().backward()
    assert all(each.grad is not None and each.grad.any() for each in net.pools["2"].parameters())


@pytest.mark.parametrize(
    "settings", [{"kv_stride": 0}, {"kv_stride": 2, "kv_layers": [4]}, {"kv_stride": 2, "kv_layers": [-1]}], ids=str
)
def test_layers_and_strides_that_cannot_be_are_refused(settings):
    with pytest.raises(RecipeError, match=r"accepted is a stride of 1 \(all keys\) or more in layers from 0 to 3"):
        dit(**settings)


# --- positions


def positions(rows: int, columns: int, base: int | None = None, interp: float = 1.0) -> Tensor:
    found = _positions(torch.zeros(1, 32, rows, columns, dtype=torch.float64), base, interp)
    return found.unflatten(1, (rows, columns))[0]


@pytest.mark.parametrize(("strong", "weak"), [((8, 2.0), (4, 1.0)), ((4, 1.0), (2, 0.5)), ((8, 2.0), (2, 0.5))])
def test_positions_of_a_larger_native_size_hold_those_of_a_smaller_one(strong, weak):
    """PixArt-Sigma's (64, base 64, interp 2) at every second index is (32, base 32, interp 1), at our sizes."""
    (large, wide), (small, narrow) = strong, weak
    step = large // small
    fine, coarse = positions(large, large, large, wide), positions(small, small, small, narrow)
    assert torch.equal(fine[::step, ::step], coarse)
    left = positions(large, large, small, wide)  # base left at the old grid
    assert not torch.allclose(left[::step, ::step], coarse, atol=1e-2)


def test_base_alone_stretches_the_old_positions_over_the_new_grid():
    assert torch.equal(positions(8, 8, base=4)[::2, ::2], positions(4, 4))
    assert torch.equal(positions(8, 4, base=4)[::2], positions(4, 4))
    assert torch.equal(positions(8, 8, interp=2.0), positions(8, 8, base=4))


def test_network_goes_on_at_twice_the_resolution_with_its_old_weights():
    net = trained()
    larger = _grown(net, {"dit": {"width": 32, "depth": 4, "classes": 3, "interp": 2.0}})
    assert larger.state_dict().keys() == net.state_dict().keys()
    x = torch.randn(2, 3, 8, 8).repeat_interleave(2, 2).repeat_interleave(2, 3)
    with torch.no_grad():
        assert not torch.equal(larger(x, torch.zeros(2)), net(x, torch.zeros(2)))


@pytest.mark.parametrize("settings", [{"interp": 0.0}, {"base": 0}], ids=str)
def test_positions_over_nothing_are_refused(settings):
    with pytest.raises(RecipeError, match="give numbers above 0"):
        dit(**settings)
