"""Networks for the demonstrations, and what turns any network into a critic.

Every network is called as ``net(x, label, c)``: x (b, ...), label (b,) from ``process.label``, c the condition.
Yours may be any ``torch.nn.Module`` with that call.
"""

from fewstep.networks.adapter import Adapted
from fewstep.networks.dit import DiT
from fewstep.networks.embed import ConditionEmbedding, Context, TimeEmbedding
from fewstep.networks.heads import Headed, Heads
from fewstep.networks.kept import Bits, Kept, keep
from fewstep.networks.lora import Lora, add_lora, adopt_kept, low_rank, merged
from fewstep.networks.lora_file import LORA, LoraFile, digest_of, own_state
from fewstep.networks.mlp import MLP
from fewstep.networks.named import build_network, complete, described, settings_of
from fewstep.networks.periods import MultiPeriod
from fewstep.networks.perturb import Perturb
from fewstep.networks.pool import TokenPool, token_pools
from fewstep.networks.reads import Reads, reader_of
from fewstep.networks.routed import Routed
from fewstep.networks.second import SecondTime
from fewstep.networks.unet import UNet
from fewstep.networks.unet1d import UNet1D

__all__ = [
    "LORA",
    "MLP",
    "Adapted",
    "Bits",
    "ConditionEmbedding",
    "Context",
    "DiT",
    "Headed",
    "Heads",
    "Kept",
    "Lora",
    "LoraFile",
    "MultiPeriod",
    "Perturb",
    "Reads",
    "Routed",
    "SecondTime",
    "TimeEmbedding",
    "TokenPool",
    "UNet",
    "UNet1D",
    "add_lora",
    "adopt_kept",
    "build_network",
    "complete",
    "described",
    "digest_of",
    "keep",
    "low_rank",
    "merged",
    "own_state",
    "reader_of",
    "settings_of",
    "token_pools",
]
