"""The attention kernels of a run: measured once on its own shapes, told, and kept with it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils import broadcast_object_list

from diffpref import types
from diffpref.config.schema import RunConfig
from diffpref.errors import ConfigError
from diffpref.io import BadText, read_json, write_json
from diffpref.models import Bundle
from diffpref.models.attention import set_kernels, watched
from diffpref.models.kernels import KERNELS, Site
from diffpref.models.timing import Bench, Timed
from diffpref.run.choose import told_of, trained_of
from diffpref.run.fit import held_rows
from diffpref.run.memory import Trained
from diffpref.schedule import scaled_linear
from diffpref.types import Conditioning

FILE = "attention.json"
Size = tuple[int, int]
"""Height and width in pixels."""


def settle_attention(
    config: RunConfig,
    bundle: Bundle,
    sizes: Iterable[Size],
    *,
    folder: Path | None,
    first: bool = True,
    say: Callable[[str], None],
    bench: Bench | None = None,
) -> None:
    """Choose the kernel of every shape if `model.attention` is auto; else see that it can run.

    Every process calls it; the first one measures. On a device that is no GPU nothing is measured
    and auto is torch's own choice. A run that is continued on the same kind of device keeps what
    was chosen, so that its numbers stay.

    Args:
        config: of the run.
        bundle: its model, the adapter in place.
        sizes: of its images.
        folder: of the run, where the choice is kept; None keeps nothing.
        first: whether this process is the one that measures, writes and speaks.
        say: told a sentence per shape.
        bench: what times; None is the model's device.

    Raises:
        ConfigError: a kernel named in the configuration does not compute one of the shapes.
    """
    kind = config.model.attention
    if kind in {"sdpa", "xformers"} or (bundle.device.type != "cuda" and bench is None):
        return
    bench = bench or Bench(rows=_rows(config), dtype=bundle.dtype, device=bundle.device)
    sites = sites_of(trained_of(config, bundle), _shapes(bundle, sizes))
    if kind != "auto":
        _require(kind, sites, bench)
        return
    found = [_chosen(sites, bench, folder, say) if first else None]
    set_kernels(bundle.unet, cast(Mapping[Site, str], broadcast_object_list(found)[0]))


def sites_of(
    model: Trained, shapes: Sequence[tuple[tuple[int, int, int], Conditioning]]
) -> list[Site]:
    """Return the shapes of a network's attention layers, found without its numbers.

    Args:
        model: the network.
        shapes: [c h w] of its latents with the conditioning of one prompt.
    """
    ghost = model.ghost()
    seen = watched(ghost)
    steps = torch.zeros(1, dtype=torch.long, device="meta")
    for latent, cond in shapes:
        told = types.cast(cond, torch.device("meta"), model.dtype)
        inputs = model.family.inputs(steps, told, scaled_linear(), model.dtype)
        with torch.no_grad():
            ghost(torch.empty((1, *latent), device="meta", dtype=model.dtype), **inputs)
    return list(seen)


def _shapes(
    bundle: Bundle, sizes: Iterable[Size]
) -> list[tuple[tuple[int, int, int], Conditioning]]:
    cond = bundle.encode_text([""])
    return [
        (bundle.latent_shape(height, width), told_of(bundle, cond, height))
        for height, width in dict.fromkeys(sizes)
    ]


def _rows(config: RunConfig) -> int:
    held = held_rows(config)
    return min(held, config.loop.rows_per_pass or held)


def _require(kind: str, sites: Iterable[Site], bench: Bench) -> None:
    """Run a kernel once at every shape, so that it is refused now and not in the first step.

    Raises:
        ConfigError: names the first shape it does not compute.
    """
    once = replace(bench, timer=_once)
    for at in sites:
        if once.time(kind, at) is None:
            what = (
                f"{kind} cannot attend here with {at.heads} heads of {at.width}, {at.queries} x "
                f"{at.keys}, in {str(bench.dtype).removeprefix('torch.')}"
            )
            raise ConfigError(what, where="model.attention", hint="set model.attention: auto")


def _once(run: Callable[[], object]) -> float:
    run()
    return 0.0


def _chosen(
    sites: Sequence[Site], bench: Bench, folder: Path | None, say: Callable[[str], None]
) -> dict[Site, str]:
    """Return the kernel of every shape: as it was kept, or measured now and then kept."""
    where = _place(bench)
    kept = {} if folder is None else _kept(folder / FILE, where)
    missing = [site for site in sites if site not in kept]
    if not missing:
        say(f"attention: the kernels chosen before ({FILE})")
        return kept
    timed = [bench.fastest(site) for site in missing]
    for each in timed:
        say(each.told())
    found = {**kept, **{each.site: each.kernel for each in timed}}
    if folder is not None:
        write_json(folder / FILE, {**where, "sites": _plain(found, timed)})
    return found


def _plain(found: Mapping[Site, str], timed: Sequence[Timed]) -> list[dict[str, object]]:
    now = {each.site: each for each in timed}
    return [
        now[site].plain() if site in now else Timed(site=site, kernel=kernel, ms={}).plain()
        for site, kernel in found.items()
    ]


def _place(bench: Bench) -> dict[str, object]:
    """Return what a choice is good for; another device or torch is measured anew."""
    cuda = bench.device.type == "cuda"
    name = torch.cuda.get_device_name(bench.device) if cuda else bench.device.type
    return {"device": name, "torch": torch.__version__, "dtype": str(bench.dtype)}


def _kept(path: Path, where: Mapping[str, object]) -> dict[Site, str]:
    """Return an earlier choice; none if there is none, or it was made elsewhere or is damaged."""
    try:
        told: Any = read_json(path) if path.is_file() else {}
        if {name: told.get(name) for name in where} != dict(where):
            return {}
        found = {
            Site(**{name: int(each[name]) for name in ("queries", "keys", "heads", "width")}): str(
                each["kernel"]
            )
            for each in told["sites"]
        }
    except (BadText, AttributeError, KeyError, TypeError, ValueError):
        return {}
    return {site: kernel for site, kernel in found.items() if kernel in KERNELS}
