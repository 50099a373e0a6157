"""Several networks on the same weights: modules of their own, parameters in common."""

import copy
from collections.abc import Iterable

from torch import nn

__all__ = ["copy_sharing", "shared_names", "tie", "untie"]


def copy_sharing(net: nn.Module, shared: Iterable[nn.Parameter]) -> nn.Module:
    """Return a deep copy of a network that has these very parameters, not copies of them.

    Modes, buffers and hooks are the copy's own, so that neither network notices what is done to the other.
    """
    return copy.deepcopy(net, {id(parameter): parameter for parameter in shared})


def shared_names(net: nn.Module, base: nn.Module) -> frozenset[str]:
    """Return the names of the parameters of a network that are those of another one."""
    known = {id(parameter) for parameter in base.parameters()}
    return frozenset(name for name, p in net.named_parameters(remove_duplicate=False) if id(p) in known)


def tie(net: nn.Module, base: nn.Module) -> nn.Module:
    """Put the parameters of ``base`` into ``net`` wherever it has one of that name; return it."""
    own = dict(net.named_parameters(remove_duplicate=False))
    for name, parameter in base.named_parameters(remove_duplicate=False):
        if name in own:
            home, _, last = name.rpartition(".")
            setattr(net.get_submodule(home), last, parameter)
    return net


def untie(net: nn.Module, names: Iterable[str]) -> nn.Module:
    """Give a network copies of its own in the place of those parameters; return it."""
    own = dict[int, nn.Parameter]()
    for name in names:
        home, _, last = name.rpartition(".")
        shared = net.get_parameter(name)
        setattr(net.get_submodule(home), last, own.setdefault(id(shared), nn.Parameter(shared.detach().clone())))
    return net
