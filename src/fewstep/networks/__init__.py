"""Networks for the demonstrations, and what turns any network into a critic.

Every network is called as ``net(x, label, c)``: x (b, ...), label (b,) from ``process.label``, c the condition.
Yours may be any ``torch.nn.Module`` with that call.
"""

from fewstep.networks.dit import DiT
from fewstep.networks.embed import ConditionEmbedding, TimeEmbedding
from fewstep.networks.heads import Headed
from fewstep.networks.mlp import MLP
from fewstep.networks.named import build_network, complete, settings_of
from fewstep.networks.second import SecondTime
from fewstep.networks.unet import UNet

__all__ = [
    "MLP",
    "ConditionEmbedding",
    "DiT",
    "Headed",
    "SecondTime",
    "TimeEmbedding",
    "UNet",
    "build_network",
    "complete",
    "settings_of",
]
