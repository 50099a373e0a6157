"""Attention to a prompt and a negative one: by hand, in every family, and in stock pipelines."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from test_interop_teacher import opened, start, stock_scheduler
from tiny import built
from torch import Tensor, nn

from fewstep import DataError, RecipeError
from fewstep.guidance import CFG, NAG, NASA, Away
from fewstep.interop import Bridge, Pipe, away_processors, turned_away
from fewstep.interop.attention import beside

FAMILIES = ["sd", "sdxl", "sd3", "flux", "schnell", "pixart", "sana"]
PROMPTS, NEGATIVE = ["a red disc", "two blue rings"], ["a blue square", "x"]
STRONG = NAG(4.0, alpha=1.0)


def asked(pipe: Pipe) -> tuple[Bridge, Tensor, Tensor, Tensor, Tensor]:
    """A bridge, and what it is asked: x, times, prompts, negative prompts."""
    model = pipe.model(1, 1.0)
    x = torch.randn(2, *model.shape, generator=torch.Generator().manual_seed(0))
    return model.view.net, x, torch.tensor([300.0, 700.0]), pipe.conditions(PROMPTS), pipe.conditions(NEGATIVE)


# --- every family


@pytest.mark.parametrize("name", FAMILIES)
def test_negative_prompts_in_one_pass(name: str) -> None:
    """The image changes with the negative prompt, not where it is the prompt itself, nor at scale 0."""
    net, x, label, c, negative = asked(opened(name))
    plain = net(x, label, c)
    assert net(x, label, c, away=STRONG).equal(plain)
    assert net(x, label, c, away=STRONG.against(c)).equal(plain)
    changed, other = (net(x, label, c, away=STRONG.against(n)) for n in (negative, negative.flip(0)))
    assert min((a - b).flatten(1).std(1).min() for a, b in ((plain, changed), (changed, other))) > 1e-4
    told, against = net.told(c, 2), net.told(negative, 2)
    with turned_away(net.backbone, NAG(0.0), net.tokens):
        silent = net.family.ask(net.backbone, x, label, beside(told, against), None)
    torch.testing.assert_close(silent, plain)
    alone = net(x[1:], label[1:], c[1:], away=STRONG.against(negative[1:]))
    torch.testing.assert_close(alone, changed[1:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_nasa_turns_every_family_away_and_begins_at_nothing(name: str) -> None:
    """At scale 0 not a bit changes; from there the image moves in proportion to the scale, as far as that is small."""
    net, x, label, c, negative = asked(opened(name))
    plain = net(x, label, c)
    assert net(x, label, c, away=NASA(0.0).against(negative)).equal(plain)
    near, twice, far = (net(x, label, c, away=NASA(a).against(negative)) for a in (0.02, 0.04, 0.3))
    assert ((twice - plain) - 2 * (near - plain)).std() < 0.1 * (twice - plain).std()
    other = net(x, label, c, away=NASA(0.3).against(negative.flip(0)))
    assert min((a - b).flatten(1).std(1).min() for a, b in ((plain, far), (far, other))) > 1e-4


@pytest.mark.parametrize("name", ["pixart", "sana"])
def test_padding_of_both_prompts_is_masked(name: str) -> None:
    net, x, label, c, negative = asked(opened(name))
    words = {5: net.told(c, 2), 9: net.told(negative, 2)}  # of the 12 tokens so many are not padding
    told, against = (each | {"mask": (torch.arange(12) < n).float().expand(2, -1)} for n, each in words.items())
    answers = []
    for noise in (0.0, 100.0):
        spoilt = [each | {"states": each["states"] + noise * (1 - each["mask"])[..., None]} for each in (told, against)]
        with turned_away(net.backbone, STRONG, net.tokens):
            answers.append(net.family.ask(net.backbone, x, label, beside(*spoilt), None))
    torch.testing.assert_close(*answers)
    with turned_away(net.backbone, STRONG, net.tokens):
        unmasked = beside(told, against | {"mask": torch.ones_like(against["mask"])})
        assert not torch.allclose(net.family.ask(net.backbone, x, label, unmasked, None), answers[0], atol=1e-4)


# --- by hand


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, bias: Tensor | float = 0.0) -> Tensor:
    """Attention written out; q, k, v are (b, tokens, features)."""
    q, k, v = (each.unflatten(-1, (heads, -1)).transpose(1, 2) for each in (q, k, v))
    weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + bias).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


@contextmanager
def alone(name: str, part: str, rule: Away, count: int) -> Iterator[nn.Module]:
    """One attention of a pipeline, in double precision, under a rule for prompts of ``count`` tokens."""
    net = built(name).components["unet" if name == "sd" else "transformer"].double()
    with turned_away(net, rule, count):
        yield net.get_submodule(part)


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


@pytest.mark.parametrize("rule", [STRONG, NASA(0.3)], ids=str)
@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("sd", "down_blocks.0.attentions.0.transformer_blocks.0.attn2"),
        ("pixart", "transformer_blocks.0.attn2"),
        ("sana", "transformer_blocks.0.attn2"),
    ],
)
def test_cross_attention_by_hand(name: str, part: str, rule: Away) -> None:
    with alone(name, part, rule, 5) as attn:
        x, text, bias = drawn(2, 6, attn.query_dim), drawn(2, 10, attn.cross_attention_dim), drawn(2, 1, 10)
        found = attn(x, encoder_hidden_states=text, attention_mask=bias)
        z = [
            softmax_attention(attn.to_q(x), attn.to_k(t), attn.to_v(t), attn.heads, b[:, None])
            for t, b in zip(text.split(5, 1), bias.split(5, 2), strict=True)
        ]
        torch.testing.assert_close(found, attn.to_out[0](rule.mix(*z)))


@pytest.mark.parametrize("rule", [STRONG, NASA(0.3)], ids=str)
def test_joint_attention_of_sd3_by_hand(rule: Away) -> None:
    """The image is mixed; the tokens of each prompt see the image and each other, and nothing is done to them."""
    with alone("sd3", "transformer_blocks.0.attn", rule, 5) as attn:
        x, text = drawn(2, 6, 16), drawn(2, 10, 16)
        image, texts = attn(x, encoder_hidden_states=text)
        z = []
        for t in text.split(5, 1):
            q, k, v = (
                torch.cat([mine(x), other(t)], 1)
                for mine, other in (
                    (attn.to_q, attn.add_q_proj), (attn.to_k, attn.add_k_proj), (attn.to_v, attn.add_v_proj)
                )
            )  # fmt: skip
            z.append(softmax_attention(q, k, v, attn.heads))
        torch.testing.assert_close(image, attn.to_out[0](rule.mix(z[0][:, :6], z[1][:, :6])))
        torch.testing.assert_close(texts, attn.to_add_out(torch.cat([z[0][:, 6:], z[1][:, 6:]], 1)))


def rotated(x: Tensor, heads: int, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs of neighbouring features by their angles, (tokens, features of a head)."""
    x = x.unflatten(-1, (heads, -1))
    turned = torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2)
    return (x * cos[:, None] + turned * sin[:, None]).flatten(-2)


def placed(count: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of places, other ones for every token."""
    angle = drawn(count, 8).repeat_interleave(2, 1)
    return angle.cos(), angle.sin()


@pytest.mark.parametrize("rule", [STRONG, NASA(0.3)], ids=str)
def test_double_block_of_flux_by_hand(rule: Away) -> None:
    with alone("flux", "transformer_blocks.0.attn", rule, 5) as attn:
        x, text, (cos, sin) = drawn(2, 6, 16), drawn(2, 10, 16), placed(16)
        image, texts = attn(x, text, None, (cos, sin))
        z = []
        for first in (0, 5):
            t = text[:, first : first + 5]
            places = [*range(first, first + 5), *range(10, 16)]
            q = torch.cat([attn.norm_added_q(attn.add_q_proj(t)), attn.norm_q(attn.to_q(x))], 1)
            k = torch.cat([attn.norm_added_k(attn.add_k_proj(t)), attn.norm_k(attn.to_k(x))], 1)
            v = torch.cat([attn.add_v_proj(t), attn.to_v(x)], 1)
            q, k = (rotated(each, 1, cos[places], sin[places]) for each in (q, k))
            z.append(softmax_attention(q, k, v, 1))
        torch.testing.assert_close(image, attn.to_out[0](rule.mix(z[0][:, 5:], z[1][:, 5:])))
        torch.testing.assert_close(texts, attn.to_add_out(torch.cat([z[0][:, :5], z[1][:, :5]], 1)))


@pytest.mark.parametrize("rule", [STRONG, NASA(0.3)], ids=str)
def test_single_block_of_flux_by_hand(rule: Away) -> None:
    with alone("flux", "single_transformer_blocks.0.attn", rule, 5) as attn:
        x, (cos, sin) = drawn(2, 16, 16), placed(16)
        found = attn(x, image_rotary_emb=(cos, sin))
        z = []
        for first in (0, 5):
            places = [*range(first, first + 5), *range(10, 16)]
            q, k = attn.norm_q(attn.to_q(x[:, places])), attn.norm_k(attn.to_k(x[:, places]))
            q, k = (rotated(each, 1, cos[places], sin[places]) for each in (q, k))
            z.append(softmax_attention(q, k, attn.to_v(x[:, places]), 1))
        wanted = [z[0][:, :5], z[1][:, :5], rule.mix(z[0][:, 5:], z[1][:, 5:])]
        torch.testing.assert_close(found, torch.cat(wanted, 1))


KINDS = {
    "sd": "down_blocks.0.attentions.0.transformer_blocks.0.attn2",
    "pixart": "transformer_blocks.0.attn2",
    "sana": "transformer_blocks.0.attn2",
    "sd3": "transformer_blocks.0.attn",
    "flux": "transformer_blocks.0.attn",
}


@pytest.mark.parametrize("name", KINDS)
def test_nasa_is_linear_in_its_scale_and_takes_equal_prompts_away(name: str) -> None:
    """What the image gets of equal prompts is 1 - a of it, and the bias of the projection behind it enters once."""
    found = []
    for scale in (0.0, 1.0, 0.3):
        with alone(name, KINDS[name], NASA(scale), 5) as attn:
            x, text = drawn(2, 6, attn.query_dim), drawn(2, 5, attn.to_k.in_features)
            turns = {"image_rotary_emb": placed(16)} if name == "flux" else {}
            same = {key: tuple(torch.cat([p[:5], p[:5], p[10:]]) for p in pair) for key, pair in turns.items()}
            bias = attn.to_out[0].bias
            for other, told in ((text.flip(0), turns), (text, same)):
                made = attn(x, encoder_hidden_states=torch.cat([text, other], 1), **told)
                found.append(made if isinstance(made, Tensor) else made[0])
    (none, alike), (whole, gone), (some, left) = (found[i : i + 2] for i in (0, 2, 4))
    torch.testing.assert_close(some - none, 0.3 * (whole - none))
    torch.testing.assert_close(left - bias, 0.7 * (alike - bias))
    torch.testing.assert_close(gone, bias.expand_as(gone))


def test_tokens_of_the_prompt_do_not_see_the_negative_one() -> None:
    """What they give is what the stock processor gives them, to the last bit, whatever the negative prompt is."""
    net = built("sd3").transformer
    attn, x, text = net.get_submodule("transformer_blocks.0.attn"), drawn(2, 6, 16).float(), drawn(2, 15, 16).float()
    prompt, negative, other = text.split(5, 1)
    stock = attn(x, encoder_hidden_states=prompt)[1]
    with turned_away(net, STRONG, 5):
        for against in (negative, other):
            assert attn(x, encoder_hidden_states=torch.cat([prompt, against], 1))[1][:, :5].equal(stock)


def test_what_both_prompts_share_is_projected_once() -> None:
    counts = dict.fromkeys(("to_q", "to_k", "to_out"), 0)
    with alone("pixart", "transformer_blocks.0.attn2", STRONG, 5) as attn:
        for name in counts:
            layer = attn.to_out[0] if name == "to_out" else getattr(attn, name)
            layer.register_forward_hook(lambda *_, name=name: counts.update({name: counts[name] + 1}))
        attn(drawn(2, 6, 16), encoder_hidden_states=drawn(2, 10, 16))
    assert counts == {"to_q": 1, "to_k": 2, "to_out": 1}


# --- on and off


def test_processors_are_taken_off_again() -> None:
    net = built("sd").unet
    before = net.attn_processors
    with turned_away(net, STRONG, 12):
        changed = [name for name, each in net.attn_processors.items() if each is not before[name]]
    assert changed == [name for name in before if "attn2" in name]
    assert net.attn_processors == before
    with turned_away(net, STRONG, 12), pytest.raises(DataError, match="given 12 tokens of text"):
        net(torch.zeros(1, 4, 8, 8), 1, torch.zeros(1, 12, 16))
    with pytest.raises(ZeroDivisionError), turned_away(net, STRONG, 12):
        raise ZeroDivisionError
    assert net.attn_processors == before


@pytest.mark.parametrize(("name", "part"), [("unconditional", "unet"), ("dit", "transformer")])
def test_a_backbone_that_reads_no_prompt_is_refused(name: str, part: str) -> None:
    with pytest.raises(RecipeError, match=r"no attention of this .* reads one. Leave the negative condition out"):
        away_processors(built(name).components[part], STRONG, 4)


def test_a_class_is_no_negative_prompt() -> None:
    model = opened("dit").model(1, 1.0).under(STRONG)
    with pytest.raises(RecipeError, match=r"NAG works in .* no attention of this DiTTransformer2DModel reads one"):
        model.sample([1], [2], negative=[3])


def test_processors_do_not_nest() -> None:
    net = built("sd").unet
    with turned_away(net, STRONG, 12), pytest.raises(RecipeError, match="has the processor _Cross already"):
        away_processors(net, STRONG, 12)


def test_prompts_of_another_length_are_refused() -> None:
    with alone("pixart", "transformer_blocks.0.attn2", STRONG, 5) as attn:
        with pytest.raises(DataError, match="given 9 tokens of text, but is to read a prompt and a negative one of 5"):
            attn(drawn(2, 6, 16), encoder_hidden_states=drawn(2, 9, 16))


def test_a_negative_prompt_of_another_form_is_refused() -> None:
    told = {"states": torch.zeros(2, 5, 4)}
    with pytest.raises(DataError, match=r"states of the negative prompt have the shape \(2, 6, 4\), those of the"):
        beside(told, {"states": torch.zeros(2, 6, 4)})


# --- as users meet it


def test_a_negative_prompt_of_a_pipeline_without_a_rule_is_refused() -> None:
    pipe = opened("sd")
    model = pipe.model(1, 1.0)
    with pytest.raises(DataError, match=r"nothing here takes one: .* model\.under\(NAG\(\)\)"):
        model.sample([1], pipe.conditions(PROMPTS[:1]), negative=pipe.conditions(NEGATIVE[:1]))


def test_one_call_per_step_and_no_call_more_under_cfg() -> None:
    pipe = opened("pixart")
    model, c, negative = pipe.model(2, 1.0).under(NAG(4.0)), pipe.conditions(PROMPTS[:1]), pipe.conditions(NEGATIVE[:1])
    calls: list[int] = []
    pipe.backbone.register_forward_hook(lambda *_: calls.append(1))
    model.sample([1], c, negative=negative)
    assert (len(calls), model.calls()) == (2, 2)
    both = model.under(CFG(3.0))
    both.sample([1], c, negative=negative)
    assert (len(calls) - 2, both.calls()) == (4, 4)


@pytest.mark.parametrize("name", ["sd", "sd3", "flux", "pixart"])
def test_processors_of_a_stock_pipeline_give_the_same_image(name: str) -> None:
    pipe = opened(name)
    rule = NAG(4.0)
    ours = pipe.model(2, 1.0).under(rule).sample([3, 4], pipe.conditions(PROMPTS), negative=pipe.conditions(NEGATIVE))
    stock, x = pipe.pipeline, start(pipe.model(2, 1.0), [3, 4])
    stock.scheduler = stock_scheduler(pipe)
    told, against = (pipe.family.told(stock, texts, pipe.size) for texts in (PROMPTS, NEGATIVE))
    names = {"states": "prompt_embeds", "mask": "prompt_attention_mask", "pooled": "pooled_prompt_embeds"}
    given: dict[str, Any] = {names[part]: value for part, value in beside(told, against).items()}
    given |= {"negative_prompt": None} if name == "pixart" else {}
    given |= {"sigmas": [1.0, 0.5]} if name in ("sd3", "flux") else {}
    x = stock._pack_latents(x, 2, 4, 16, 16) if name == "flux" else x
    net = pipe.backbone
    net.set_attn_processor(away_processors(net, rule, told["states"].shape[1]))
    theirs = stock(
        height=32, width=32, num_inference_steps=2, guidance_scale=1.0, latents=x, output_type="latent",
        **given, **pipe.family.call(stock),
    ).images  # fmt: skip
    theirs = stock._unpack_latents(theirs, 32, 32, 2) if name == "flux" else theirs
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=2e-4)
