"""`diffpref doctor`: what this machine has, and how to get what is missing."""

from typing import Annotated, Any

import typer

from diffpref.cli.app import verb_app, write_columns, write_json
from diffpref.cli.diagnosis import diagnose
from diffpref.errors import UsageError

app = verb_app("Say what this machine has, and how to get what is missing.")


@app.command()
def doctor(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to --fit's.")
    ] = None,
    *,
    fit: Annotated[
        str | None,
        typer.Option(metavar="CONFIG", help="Say which card a configuration fits instead."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Write one JSON document.")] = False,
    gemm: Annotated[
        bool, typer.Option("--gemm", help="Measure the CPU's float32 GEMM GFLOP/s (a second).")
    ] = False,
) -> None:
    """Versions, devices, attention back ends, caches, and how to get what is missing.

    Exits with 1 when something required is missing. Before a run, on any machine:

        diffpref doctor --fit sdxl/dpo adapter.kind=full

    says how much memory it takes, and what to change for a smaller card.
    """
    if fit is not None or overrides:
        _tell_fit(fit, overrides or [], json)
        return
    report = diagnose(gemm=gemm)
    if json:
        write_json(report)
    else:
        _write(report)
    if any(each["required"] for each in report["missing"]):
        raise typer.Exit(1)


def _tell_fit(fit: str | None, overrides: list[str], json: bool) -> None:
    from diffpref.cli.fit import tell_fit

    if fit is None:
        what, hint = "changes belong to a configuration", "name it: --fit CONFIG"
        raise UsageError(what, where=(overrides or [""])[0], hint=hint)
    tell_fit(fit, overrides, json=json)


def _write(report: dict[str, Any]) -> None:
    write_columns(_summary(report))
    typer.echo("")
    write_columns([(name, found or "-") for name, found in report["packages"].items()])
    typer.echo("")
    if not report["missing"]:
        typer.echo("nothing is missing")
        return
    write_columns(
        [("missing", "needed for", "get it with")]
        + [_missing_row(each) for each in report["missing"]]
    )


def _summary(report: dict[str, Any]) -> list[tuple[str, str]]:
    machine, hub = report["machine"], report["hub"]
    speed = machine["gemm_gflops"]
    processor = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB"
    offline = "offline (HF_HUB_OFFLINE is set)" if hub["offline"] else "online"
    return [
        ("diffpref", report["diffpref"]),
        ("python", report["python"]),
        ("platform", report["platform"]),
        ("processor", processor + (f", {speed} GFLOP/s fp32 GEMM" if speed else "")),
        *[("accelerator", _accelerator(each)) for each in machine["accelerators"]],
        *([] if machine["accelerators"] else [("accelerator", "none: torch runs on the CPU")]),
        ("attention", ", ".join(name for name, works in report["attention"].items() if works)),
        ("hub", f"{offline}, {len(hub['models'])} models in {hub['cache']}"),
        ("disk", f"{report['disk_free_gib']} GiB free here"),
        ("bundled", ", ".join(name for name, place in report["bundled"].items() if place) or "-"),
    ]


def _accelerator(each: dict[str, Any]) -> str:
    if each["memory_gib"] is None:
        return f"{each['device']} {each['name']}"
    return (
        f"{each['device']} {each['name']}, {each['memory_gib']} GiB, "
        f"compute capability {each['capability']}"
    )


def _missing_row(each: dict[str, Any]) -> tuple[str, str, str]:
    name = each["what"] if each["required"] else f"{each['what']} (optional)"
    return name, each["for"], each["get"]
