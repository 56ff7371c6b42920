"""User adapters on tiny random networks: SD1.5, SDXL and Stable Cascade's stage C."""

import sys
from collections.abc import Callable
from copy import deepcopy
from math import sqrt
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from diffusers import StableCascadeUNet
from diffusers.models.attention_processor import Attention, XFormersAttnProcessor
from torch import Tensor, nn

from diffpref.errors import ConfigError
from diffpref.models import (
    AdapterConfig,
    Bundle,
    UserAdapter,
    add_user_adapter,
    fingerprint,
    frozen_copy,
    has_adapters,
    load_lora,
    load_user_adapter,
    make_adapter,
    make_denoiser,
    save_lora,
    save_pipeline,
    save_user_adapter,
    set_checkpointing,
    trainable_parameters,
    user_adapter_of,
)
from diffpref.models.checkpointing import Keep
from diffpref.models.user_attention import attend_sdpa
from diffpref.models.user_files import FILE, read_about
from diffpref.models.user_install import install, sites
from diffpref.types import Conditioning

WIDTH = 6
Fresh = Callable[[str], Bundle]
NETS = ["sd15", "sdxl", "cascade"]


def make_cascade() -> StableCascadeUNet:
    """A tiny stage C: two levels of different widths, attention that concatenates image tokens."""
    torch.manual_seed(3)
    kinds = ("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock")
    return StableCascadeUNet(
        in_channels=4,
        out_channels=4,
        timestep_ratio_embedding_dim=8,
        conditioning_dim=12,
        block_out_channels=(8, 16),
        num_attention_heads=(2, 4),
        down_num_layers_per_block=(1, 1),
        up_num_layers_per_block=(1, 1),
        down_blocks_repeat_mappers=(1, 1),
        up_blocks_repeat_mappers=(1, 1),
        block_types_per_layer=(kinds, kinds),
        clip_text_in_channels=10,
        clip_text_pooled_in_channels=10,
        clip_image_in_channels=10,
        switch_level=(False,),
        dropout=(0.0, 0.0),
    )


class Case:
    """A network with everything it is asked about, on two rows."""

    def __init__(self, net: Any, arguments: dict[str, Any]) -> None:
        self.net = net.requires_grad_(False).eval()
        self.arguments = arguments

    def double(self) -> "Case":
        self.net.double()
        self.arguments = {key: _cast(each, torch.float64) for key, each in self.arguments.items()}
        return self

    def add(self, **options: Any) -> UserAdapter:
        return add_user_adapter(self.net, width=WIDTH, **options)

    def __call__(self, user: Tensor | None = None, gate: Tensor | None = None) -> Tensor:
        users = user_adapter_of(self.net)
        if users is None:
            return self.net(**self.arguments, return_dict=False)[0]
        with users.told(user, gate):
            return self.net(**self.arguments, return_dict=False)[0]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make_case(name: str, fresh: Fresh) -> Case:
    if name == "cascade":
        told = {"clip_text_pooled": noise(2, 1, 10), "clip_text": noise(2, 3, 10, seed=1)}
        told["clip_img"] = noise(2, 1, 10, seed=2)
        place = {"sample": noise(2, 4, 6, 6, seed=3), "timestep_ratio": torch.tensor([0.2, 0.7])}
        return Case(make_cascade(), place | told)
    net = fresh(name).unet
    width = net.config["cross_attention_dim"]
    arguments: dict[str, Any] = {
        "sample": noise(2, 4, 8, 8),
        "timestep": torch.tensor([10, 700]),
        "encoder_hidden_states": noise(2, 5, width, seed=1),
    }
    if name == "sdxl":
        added = {"text_embeds": noise(2, 24, seed=2), "time_ids": torch.full((2, 6), 64.0)}
        arguments["added_cond_kwargs"] = added
    return Case(net, arguments)


@pytest.fixture(params=NETS)
def case(request: pytest.FixtureRequest, fresh: Fresh) -> Case:
    return make_case(request.param, fresh)


def users(n: int = 2, seed: int = 5) -> Tensor:
    return noise(n, 1, WIDTH, seed=seed)


def trained(adapter: UserAdapter, seed: int = 9) -> UserAdapter:
    """Move every V' away from zero, and the projector's norm from its start."""
    for number, layer in enumerate(adapter.layers.values()):
        value = layer.to_v_ip.weight
        value.data = 0.3 * noise(*value.shape, seed=seed + number).to(value)
    norm = adapter.projector.norm
    norm.bias.data = 0.3 * noise(*norm.bias.shape, seed=seed).to(norm.bias)
    return adapter


def test_nobody_and_a_fresh_adapter_are_the_base_bit_for_bit(case: Case) -> None:
    base = case()
    case.add()
    assert torch.equal(case(), base)
    assert torch.equal(case(users()), base)
    with torch.no_grad():
        assert torch.equal(case(users(), torch.zeros(2)), base)


def test_a_gate_of_zero_is_the_base_bit_for_bit_after_training_and_by_row(case: Case) -> None:
    base = case()
    trained(case.add())
    mine = case(users())
    assert not torch.allclose(mine, base, atol=1e-4)
    assert torch.equal(case(), base)
    assert torch.equal(case(users(), torch.zeros(2)), base)  # computed, for a gradient of zero
    with torch.no_grad():
        assert torch.equal(case(users(), torch.zeros(2)), base)
        mixed = case(users(), torch.tensor([0.0, 1.0]))
    assert torch.equal(mixed[0], base[0])
    assert torch.equal(mixed[1], mine[1])
    half = case(users(), torch.tensor([0.5, 0.5]))
    assert not torch.equal(half, mine)
    assert not torch.equal(half, base)


def test_the_zero_vector_is_somebody_once_trained(case: Case) -> None:
    base = case()
    trained(case.add())
    assert not torch.allclose(case(torch.zeros(2, 1, WIDTH)), base, atol=1e-4)


def test_the_zero_vector_is_nobody_if_silent_and_a_short_one_is_quiet(fresh: Fresh) -> None:
    case = make_case("sd15", fresh)
    base = case()
    adapter = add_user_adapter(case.net, width=WIDTH, silent=True)
    for number, layer in enumerate(adapter.layers.values()):
        layer.to_v_ip.weight.data = 0.3 * noise(*layer.to_v_ip.weight.shape, seed=number)
    assert torch.allclose(case(torch.zeros(2, 1, WIDTH)), base, atol=1e-6)
    loud, quiet = (float((case(scale * users()) - base).detach().norm()) for scale in (1.0, 0.05))
    assert 0 < quiet < 0.2 * loud


def test_a_silent_projector_is_its_equation_and_its_file_gives_the_same_tokens(
    fresh: Fresh, tmp_path: Path
) -> None:
    one, two = fresh("sd15").unet, fresh("sd15").unet
    projector = add_user_adapter(one, width=WIDTH, silent=True).projector
    projector.norm.weight.data += 0.3 * noise(*projector.norm.weight.shape)
    assert [value.requires_grad for value in projector.parameters()] == [True, False, True, False]
    found = projector(users())
    z = (users().double() @ projector.proj.weight.double().T).view(len(found), 4, -1)
    z = z - z.mean(dim=-1, keepdim=True)
    naive = z / (z.square().mean(dim=-1, keepdim=True) + 0.65536).sqrt()
    assert torch.allclose(found.double(), naive * projector.norm.weight.double(), atol=1e-6)
    assert torch.equal(projector(-users()), -found)
    read = load_user_adapter(two, save_user_adapter(tmp_path, one)).projector
    assert read.norm.eps == 1e-5
    assert torch.equal(read(users()), found)


def test_users_differ_and_the_order_of_rows_does_not_matter(case: Case) -> None:
    trained(case.add())
    both = case(users())
    assert not torch.allclose(both, case(users(seed=6)), atol=1e-5)
    swapped = case(users().flip(0))
    assert not torch.allclose(swapped, both, atol=1e-5)


def test_only_the_adapter_trains_and_the_base_keeps_every_bit(case: Case) -> None:
    before = {name: value.clone() for name, value in case.net.state_dict().items()}
    trained(case.add())
    names = list(trainable_parameters(case.net))
    assert names
    assert all(name.startswith("user_adapter.") for name in names)
    loss = case(users()).square().mean()
    loss.backward()
    optimizer = torch.optim.SGD(trainable_parameters(case.net).values(), lr=0.1)
    optimizer.step()
    after = case.net.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def _gradients(case: Case, adapter: UserAdapter) -> list[dict[str, float]]:
    """Return each kind of weight's largest gradient at two successive steps."""
    found = []
    optimizer = torch.optim.SGD(adapter.parameters(), lr=1.0)
    target = noise(*case().shape, seed=11)
    for _ in range(2):
        optimizer.zero_grad()
        (case(users().double()) - target).square().mean().backward()
        kinds: dict[str, float] = {}
        for name, value in adapter.named_parameters():
            kind = name.split(".")[-2]
            size = 0.0 if value.grad is None else float(value.grad.abs().max())
            kinds[kind] = max(kinds.get(kind, 0.0), size)
        found.append(kinds)
        optimizer.step()
    return found


def test_values_learn_first_and_keys_from_the_second_step_on(case: Case) -> None:
    first, second = _gradients(case, case.double().add())
    assert first["to_v_ip"] > 1e-7
    assert first["to_k_ip"] == 0.0
    assert first["proj"] == 0.0
    assert min(second.values()) > 0.0
    assert second["to_k_ip"] > 1e-9


def test_with_one_token_keys_never_learn_which_is_why_it_is_refused(case: Case) -> None:
    with pytest.raises(ConfigError, match="softmax over one token") as refused:
        case.add(tokens=1)
    assert "users.tokens" in str(refused.value)
    found = sites(case.double().net)
    adapter = UserAdapter(width=WIDTH, tokens=1, keys=[site.key for site in found])
    install(case.net, adapter, [site.attention for site in found])
    _, second = _gradients(case, adapter)
    assert second["to_v_ip"] > 1e-7
    assert second["to_k_ip"] < 1e-15  # a softmax over one number: 0 but for rounding


def test_keys_start_as_the_layers_own_and_values_at_zero(fresh: Fresh) -> None:
    for name in ("sd15", "sdxl"):
        net = fresh(name).unet
        adapter = add_user_adapter(net, width=WIDTH)
        layers = [each for path, each in net.named_modules() if path.endswith("attn2")]
        assert list(adapter.layers) == [str(2 * i + 1) for i in range(len(layers))]
        for layer, own in zip(layers, adapter.layers.values(), strict=True):
            assert torch.equal(own.to_k_ip.weight, layer.to_k.weight)
            assert not own.to_v_ip.weight.any()


def _naive(
    attn: Attention, x: Tensor, read: Tensor, layer: Any, tokens: Tensor, g: float
) -> Tensor:
    """Both attentions head by head and query by query, in float64, from the equation."""
    x, read, tokens = (each.double() for each in (x, read, tokens))

    def linear(net: nn.Module, value: Tensor) -> Tensor:
        bias = getattr(net, "bias", None)
        made = value @ net.weight.double().T
        return made if bias is None else made + bias.double()

    q = linear(attn.to_q, x)
    width = q.shape[-1] // attn.heads
    out = torch.zeros_like(q)
    pairs = (
        (1.0, linear(attn.to_k, read), linear(attn.to_v, read)),
        (g, linear(layer.to_k_ip, tokens), linear(layer.to_v_ip, tokens)),
    )
    for weight, k, v in pairs:
        for n in range(len(q)):
            for head in range(attn.heads):
                part = slice(head * width, (head + 1) * width)
                for i in range(q.shape[1]):
                    scores = k[n, :, part] @ q[n, i, part] / sqrt(width)
                    share = (scores - scores.max()).exp()
                    out[n, i, part] += weight * (share / share.sum()) @ v[n, :, part]
    return linear(attn.to_out[0], out)


@pytest.mark.parametrize("name", ["sd15", "cascade"])
def test_a_layer_is_its_equation(name: str, fresh: Fresh) -> None:
    case = make_case(name, fresh)
    adapter = trained(case.add())
    attn = sites(case.net)[0].attention
    inner = attn.to_q.weight.shape[1]
    read = noise(2, 3, attn.to_k.weight.shape[1], seed=2)
    tokens = adapter.projector(users())
    layer = adapter.layers["1"]
    image = noise(2, inner, 2, 2, seed=4)
    for x in (image, image.flatten(2).transpose(1, 2)):
        with adapter.told(users(), torch.tensor([0.7, 0.7])):
            ours = attn(x, encoder_hidden_states=read)
        flat = x if x.ndim == 3 else x.flatten(2).transpose(1, 2)
        naive = _naive(attn, flat, read, layer, tokens, 0.7)
        ours = ours if ours.ndim == 3 else ours.flatten(2).transpose(1, 2)
        assert torch.allclose(ours.double(), naive, atol=1e-5)


def test_the_texts_attention_sums_to_one_with_and_without_a_user(fresh: Fresh) -> None:
    """Were the user's tokens among the text's, they would take weight away from it."""
    case = make_case("cascade", fresh)
    adapter = case.add()
    attn = sites(case.net)[0].attention
    with torch.no_grad():  # every value is 1: the output says what the weights sum to
        attn.to_v.weight.zero_()
        attn.to_v.bias.fill_(1.0)
        attn.to_out[0].weight.copy_(torch.eye(len(attn.to_out[0].weight)))
        attn.to_out[0].bias.zero_()
    x, read = noise(2, 8, 2, 2), noise(2, 3, 8, seed=1)
    with adapter.told(users()):
        assert torch.allclose(attn(x, encoder_hidden_states=read), torch.ones(2, 8, 2, 2))


@pytest.mark.parametrize("keep", [True, "keep_convs"])
@pytest.mark.parametrize("name", NETS)
def test_checkpointing_changes_no_gradient(name: str, keep: Keep, fresh: Fresh) -> None:
    found = []
    for each in (False, keep):
        case = make_case(name, fresh)
        adapter = trained(case.add())
        case.net.train()
        set_checkpointing(case.net, each)
        loss = case(users(), torch.tensor([1.0, 0.4])).square().mean()
        loss.backward()  # outside of `told`: a recomputation must remember whom it was for
        found.append((loss.detach(), [value.grad for value in adapter.parameters()]))
    (plain, ours), (recomputed, theirs) = found
    assert torch.equal(plain, recomputed)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", NETS)
def test_a_half_precision_base_trains_a_float32_adapter(name: str, fresh: Fresh) -> None:
    case = make_case(name, fresh)
    case.net.to(torch.bfloat16)
    case.arguments = {key: _cast(value, torch.bfloat16) for key, value in case.arguments.items()}
    base = case()
    adapter = trained(case.add())
    assert {value.dtype for value in adapter.parameters()} == {torch.float32}
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(case(), base)
        out = case(users())
    assert out.dtype == torch.bfloat16
    assert not torch.equal(out, base)
    out.float().square().mean().backward()
    assert all(bool(value.grad.abs().max() > 0) for value in adapter.parameters())


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, dict):
        return {key: _cast(each, dtype) for key, each in value.items()}
    return value.to(dtype) if value.is_floating_point() else value


def test_the_denoiser_tells_the_rows_users(bundle: Bundle) -> None:
    make_adapter(bundle, AdapterConfig(kind="user", width=WIDTH, seed=4))
    adapter = user_adapter_of(bundle.unet)
    assert adapter is not None
    net = make_denoiser(bundle.unet, bundle)
    cond = bundle.encode_text(["a red cube", "two blue discs"])
    if bundle.family.micro_conditioned:
        told = {"time_ids": torch.full((2, 6), 32.0), "pooled": cond.pooled, "text": cond.text}
        cond = Conditioning(**told)
    x_t, t = noise(2, 4, 8, 8), torch.tensor([3, 600])
    base = net(x_t, t, cond)
    trained(adapter)
    both = Conditioning(
        text=cond.text,
        pooled=cond.pooled,
        time_ids=cond.time_ids,
        user=users(),
        gate=torch.tensor([1.0, 0.0]),
    )
    mixed = net(x_t, t, both)
    assert torch.equal(mixed[1], base[1])
    assert not torch.allclose(mixed[0], base[0], atol=1e-4)
    assert torch.equal(net(x_t, t, both.nobodys()), base)
    other = make_denoiser(frozen_copy(bundle.unet), bundle)
    assert torch.equal(other(x_t, t, both), mixed)
    assert adapter.current is None


def test_a_network_without_adapter_refuses_users(bundle: Bundle) -> None:
    net = make_denoiser(bundle.unet, bundle)
    cond = bundle.encode_text(["a red cube"])
    told = Conditioning(text=cond.text, pooled=cond.pooled, user=users(1))
    with pytest.raises(ValueError, match="no user adapter"):
        net(noise(1, 4, 8, 8), torch.tensor([3]), told)


def test_vectors_of_another_width_are_refused(case: Case) -> None:
    case.add()
    with pytest.raises(ValueError, match=f"need {WIDTH}"):
        case(noise(2, 1, WIDTH + 1))


def test_it_stands_on_a_frozen_population_lora(
    bundle: Bundle, fresh: Fresh, tmp_path: Path
) -> None:
    make_adapter(bundle, AdapterConfig(rank=2, seed=1))
    for name, value in trainable_parameters(bundle.unet).items():
        if "lora_B" in name:
            value.data = 0.2 * noise(*value.shape, seed=2)
    save_lora(tmp_path, bundle)
    under = fresh(bundle.family.name)
    load_lora(under, str(tmp_path))
    cond = under.encode_text(["a red cube"])
    if under.family.micro_conditioned:
        cond = Conditioning(text=cond.text, pooled=cond.pooled, time_ids=torch.full((1, 6), 32.0))
    x_t, t = noise(1, 4, 8, 8), torch.tensor([300])
    population = make_denoiser(under.unet, under)(x_t, t, cond)
    make_adapter(under, AdapterConfig(kind="user", width=WIDTH))
    assert has_adapters(under.unet)
    assert all("user_adapter" in name for name in trainable_parameters(under.unet))
    adapter = user_adapter_of(under.unet)
    assert adapter is not None
    net = make_denoiser(under.unet, under)
    assert torch.equal(net(x_t, t, cond), population)
    folded = fresh(bundle.family.name)
    load_lora(folded, str(tmp_path))
    folded.unet.fuse_lora()
    keys = [each.to_k for path, each in folded.unet.named_modules() if path.endswith("attn2")]
    for key, own in zip(keys, adapter.layers.values(), strict=True):
        merged = key.get_base_layer().weight
        assert torch.allclose(own.to_k_ip.weight, merged, atol=1e-6)


def test_a_saved_adapter_is_loaded_bit_for_bit(case: Case, tmp_path: Path) -> None:
    other = Case(deepcopy(case.net), case.arguments)
    adapter = trained(case.add())
    path = save_user_adapter(tmp_path, case.net, {"encoder": "simple"})
    assert path == tmp_path / FILE
    assert read_about(tmp_path)["encoder"] == "simple"
    loaded = load_user_adapter(other.net, tmp_path)
    assert torch.equal(other(users()), case(users()))
    assert (loaded.width, loaded.tokens) == (adapter.width, adapter.tokens) == (WIDTH, 4)
    assert not list(trainable_parameters(other.net))


def test_a_file_of_another_model_is_refused_and_leaves_no_trace(
    fresh: Fresh, tmp_path: Path
) -> None:
    ours, theirs = make_case("sd15", fresh), make_case("sdxl", fresh)
    ours.add()
    save_user_adapter(tmp_path, ours.net)
    base, before = theirs(), fingerprint([theirs.net])
    with pytest.raises(ConfigError, match="does not fit"):
        load_user_adapter(theirs.net, tmp_path)
    assert fingerprint([theirs.net]) == before
    assert torch.equal(theirs(), base)
    theirs.add()


def test_what_cannot_be_saved_or_added_twice_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no user adapter"):
        save_user_adapter(tmp_path, bundle.unet)
    make_adapter(bundle, AdapterConfig(kind="user", width=WIDTH))
    with pytest.raises(ConfigError, match="already"):
        add_user_adapter(bundle.unet, width=WIDTH)
    with pytest.raises(ConfigError, match="user adapter"):
        save_pipeline(tmp_path / "out", bundle)


@pytest.fixture
def xformers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A stand-in for xformers.ops with the documented meaning of its one function we call."""
    calls: list[Any] = []

    def memory_efficient_attention(
        q: Tensor, k: Tensor, v: Tensor, *, attn_bias: Tensor | None, scale: float
    ) -> Tensor:
        calls.append(q.shape)
        scores = q @ k.transpose(1, 2) * scale
        return (scores if attn_bias is None else scores + attn_bias).softmax(dim=-1) @ v

    package, ops = ModuleType("xformers"), ModuleType("xformers.ops")
    ops.memory_efficient_attention = memory_efficient_attention
    package.ops = ops
    monkeypatch.setitem(sys.modules, "xformers", package)
    monkeypatch.setitem(sys.modules, "xformers.ops", ops)
    return calls


@pytest.mark.parametrize("masked", [False, True])
def test_xformers_layers_attend_alike(masked: bool, fresh: Fresh, xformers: list[Any]) -> None:
    case = make_case("sd15", fresh)
    attn = sites(case.net)[0].attention
    attn.set_processor(XFormersAttnProcessor())
    adapter = trained(case.add())
    x, read = noise(2, 4, attn.to_q.weight.shape[1]), noise(2, 3, attn.to_k.weight.shape[1], seed=1)
    mask = torch.tensor([[[0.0, 0.0, -1e4]], [[0.0, -1e4, 0.0]]]) if masked else None
    with adapter.told(users()):
        ours = attn(x, encoder_hidden_states=read, attention_mask=mask)
    assert len(xformers) == 2
    attn.processor.attend = attend_sdpa
    with adapter.told(users()):
        plain = attn(x, encoder_hidden_states=read, attention_mask=mask)
    assert len(xformers) == 2
    assert torch.allclose(ours, plain, atol=1e-6)
