"""Fewer keys and values: the tokens of a grid, a cell of them at a time."""

from collections.abc import Sequence

from torch import Tensor, nn

from fewstep.errors import RecipeError

__all__ = ["TokenPool", "token_pools"]


class TokenPool(nn.Module):
    """Tokens (b, rows * columns, width) to one per cell of ``stride`` x ``stride`` of them, at first their mean.

    ``A(Q, C(K), C(V))`` with C this layer, the same for keys and values, costs ``stride^2`` times less than attention.
    C is a convolution per channel, kernel and stride ``stride``, weights ``1 / stride^2``, bias 0.  ``norm`` puts a
    LayerNorm behind it, as the paper's code does: it changes the scale of keys and values at once, so that a trained
    network no longer begins as one with averaged keys.
    Exact without ``norm``: where keys and values are constant on every cell this is the full attention, and with
    stride 1 the tokens themselves.
    Source: PixArt-Sigma, arXiv 2403.04692, section 2.3.  *Ours*: the mean of a cell, where the code's "ave" takes one
    token of it; no norm by default.
    """

    def __init__(self, width: int, stride: int, norm: bool = False) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(width, width, stride, stride=stride, groups=width)
        self.norm = nn.LayerNorm(width) if norm else None
        nn.init.constant_(self.conv.weight, 1 / stride**2)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return the tokens of the cells, row by row.  Raises ``RecipeError`` for grids that are no whole cells."""
        rows, columns = grid
        if rows % self.stride or columns % self.stride:
            raise RecipeError(
                f"{rows} x {columns} tokens do not divide into cells of {self.stride} x {self.stride}, in which "
                f"kv_stride: {self.stride} pools keys and values. Give images with more patches a side, or another "
                "kv_stride."
            )
        channels = tokens.transpose(1, 2)
        cells = self.conv(channels.reshape(*channels.shape[:2], rows, columns)).flatten(2).transpose(1, 2)
        return cells if self.norm is None else self.norm(cells)  # type: ignore[no-any-return]


def token_pools(width: int, depth: int, stride: int, layers: Sequence[int] | None, norm: bool) -> nn.ModuleDict:
    """Return a pool for each of these layers of a network of so many, by its number; none for stride 1.

    By default the deep half gets one, as 14 to 27 of 28 in the paper.  Raises ``RecipeError`` for layers that there are
    not, and for strides below 1.
    """
    chosen = range(depth // 2, depth) if layers is None else layers
    if stride < 1 or not all(0 <= layer < depth for layer in chosen):
        raise RecipeError(
            f"kv_stride is {stride} in the layers {list(chosen)}; accepted is a stride of 1 (all keys) or more in "
            f"layers from 0 to {depth - 1}."
        )
    return nn.ModuleDict({} if stride == 1 else {str(layer): TokenPool(width, stride, norm) for layer in chosen})
