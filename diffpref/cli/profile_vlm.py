"""`diffpref profile fit --encoder vlm`: what a run's vision-language model makes of votes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from diffpref.cli.app import write_columns, write_json
from diffpref.errors import UsageError

if TYPE_CHECKING:
    from diffpref.users.vlm.profile import VlmProfile


@dataclass(frozen=True, kw_only=True)
class FromVlm:
    """Which run's encoder, where its model is, and whose votes of the source."""

    run: str
    folder: Path | None
    user: str | None
    format: str | None
    part: str
    device: str

    def write(self, votes: str | None, out: Path, *, keep_statistics: bool, json: bool) -> None:
        """Read the votes, and write and tell the profile.

        Raises:
            UsageError: there are no votes, or no run and folder.
            DataError: the run's encoder is of another model, or nothing can be used.
            ConfigError: the model cannot be loaded.
        """
        from diffpref.config.fits import auto_device
        from diffpref.users.vlm.files import load_encoder_file
        from diffpref.users.vlm.open import load_reader
        from diffpref.users.vlm.profile import fit_vlm_profile, save_vlm_profile
        from diffpref.users.vlm.reading import Reading
        from diffpref.users.vlm.states import States
        from diffpref.users.vlm.votes import read_choices

        source, folder = self._asked(votes, keep_statistics)
        told = read_choices(source, user=self.user, format=self.format, split=self.part)

        def states(reading: Reading) -> States:
            reader = load_reader(folder, reading, device=auto_device(self.device))
            return States(reader, told.pictures)

        encoder = load_encoder_file(Path(self.run), folder, states)
        profile = fit_vlm_profile(encoder, told.choices)
        save_vlm_profile(out, profile)
        tell_vlm(profile, out, json, notes=told.notes)

    def _asked(self, votes: str | None, keep_statistics: bool) -> tuple[str, Path]:
        if votes is None:
            hint = "give VOTES, rows of two pictures; or --encoder bt for liked pictures"
            raise UsageError("encoder vlm reads choices", where="--encoder vlm", hint=hint)
        if self.folder is None:
            hint = "diffpref profile fit VOTES -o FILE --encoder vlm --prior RUN --vlm FOLDER"
            raise UsageError("which model? it is kept in no file", where="--vlm", hint=hint)
        if keep_statistics:
            what, hint = "a vlm profile keeps none", "leave it out, or use --encoder bt"
            raise UsageError(what, where="--keep-statistics", hint=hint)
        if not Path(self.run).exists():
            hint = "give --prior RUN, trained with users.encoder: vlm"
            raise UsageError("there is no such run", where=f"--prior {self.run}", hint=hint)
        return votes, self.folder


def tell_vlm(profile: "VlmProfile", path: Path, json: bool, *, notes: Sequence[str] = ()) -> None:
    """Write what a profile holds to stdout; notes go to stderr."""
    if json:
        write_json({"profile": str(path), **profile.summary(), "notes": list(notes)})
        return
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    write_columns(
        [
            ("encoder", profile.fingerprint),
            ("votes", f"{profile.pairs}"),
            ("numbers", f"{len(profile.embedding)}"),
            ("file", f"{path.stat().st_size / 1000:.1f} kB, {profile.created}"),
        ]
    )
    typer.echo(profile.verdict)
