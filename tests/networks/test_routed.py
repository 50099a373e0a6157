"""Several small networks in the place of one."""

import pytest
import torch
from torch import nn

from fewstep.errors import RecipeError
from fewstep.networks import MLP, Routed, build_network, complete

CLASSES = 5


class Shift(nn.Module):
    """Adds its number to x, and counts the items that come by."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number, self.items = nn.Parameter(torch.tensor(number)), 0

    def forward(self, x, label, c, *rest):
        self.items += len(x)
        return x + self.number + sum(each[:, None] for each in rest if each is not None)


def routed(parts, classes: int = CLASSES) -> Routed:
    net = Routed(Shift(0.0), parts, classes)
    for number, body in enumerate(net.bodies):
        body.number.data.fill_(10.0 * number)
    return net


def test_every_item_goes_through_the_body_of_its_class_and_no_other():
    net, c = routed([[0, 3], [1], [4, 2]]), torch.tensor([4, 0, 1, 2, 3, -1, 1])
    out = net(torch.zeros(7, 2), torch.zeros(7), c)
    assert out[:, 0].tolist() == [20, 0, 10, 20, 0, 0, 10]
    assert [body.items for body in net.bodies] == [3, 2, 2]


def test_several_bodies_may_lack_items():
    assert [routed(1).partial, routed(2).partial] == [False, True]


def test_whatever_else_the_network_is_told_goes_with_its_item():
    net, told = routed(2), torch.arange(4.0)
    out = net(torch.zeros(4, 1), torch.zeros(4), torch.tensor([4, 0, 4, 1]), told, None)
    assert out[:, 0].tolist() == [10, 1, 12, 3]


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_a_number_of_parts_makes_rows_of_nearly_equal_length(parts: int):
    owner = routed(parts).owner[:-1]
    sizes = owner.bincount()
    assert (owner.diff() >= 0).all()
    assert len(sizes) == parts
    assert sizes.max() - sizes.min() <= 1


def test_one_part_is_the_body_to_the_last_bit():
    torch.manual_seed(0)
    body = MLP(2, classes=CLASSES, width=16, depth=1)
    x, label, c = torch.randn(6, 2), torch.randn(6), torch.tensor([0, 1, 2, 3, 4, -1])
    assert torch.equal(Routed(body, 1, CLASSES)(x, label, c), body(x, label, c))


def test_a_part_learns_from_its_own_items_alone():
    net = routed(2)
    net(torch.zeros(3, 2), torch.zeros(3), torch.tensor([0, 1, 1])).sum().backward()
    assert net.bodies[0].number.grad.item() == 6
    assert net.bodies[1].number.grad is None


@pytest.mark.parametrize(
    ("parts", "classes", "said"),
    [
        ([[0, 1], [], [2, 3, 4]], 5, "part 1 is empty"),
        ([[0, 1], [1, 2, 3, 4]], 5, r"in two: \[1\]"),
        ([[0, 1], [3, 4]], 5, r"in none: \[2\]"),
        ([[0, 1, 2], [3, 4, 7]], 5, r"no classes: \[7\]"),
        (6, 5, "1 to 5"),
        (0, 5, "1 to 5"),
        (2, 0, "no classes"),
    ],
)
def test_a_partition_that_is_none_is_refused(parts, classes: int, said: str):
    with pytest.raises(RecipeError, match=said):
        routed(parts, classes)


def test_words_are_enough_to_build_it():
    words = complete({"routed": {"parts": 2, "body": {"unet": {"widths": [8], "depth": 1}}}}, (1, 8, 8), CLASSES)
    net = build_network(words)
    assert words["routed"]["body"]["unet"] == {"channels": 1, "classes": CLASSES, "widths": [8], "depth": 1}
    x = torch.randn(3, 1, 8, 8)
    assert net(x, torch.zeros(3), torch.tensor([0, 4, -1])).shape == x.shape
