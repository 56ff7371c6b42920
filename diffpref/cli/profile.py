"""`diffpref profile`: a person's taste from a few votes, in a file of a few kilobytes."""

from pathlib import Path

import typer

from diffpref.cli import profile_options as options
from diffpref.cli import sample_options as sampling
from diffpref.cli import scorer_options as scoring
from diffpref.cli.app import verb_app, write_json
from diffpref.cli.profile_change import add, ask, forget, mix
from diffpref.cli.profile_show import tell
from diffpref.cli.profile_vlm import FromVlm, tell_vlm
from diffpref.errors import DataError, UsageError

ABOUT = """A person's taste from a few votes, in a file of a few kilobytes.

\b
  diffpref profile fit votes.jsonl -o me.profile       learn it
  diffpref profile show me.profile                     what was learned, and how sure
  diffpref profile ask me.profile --candidates DIR     which pairs to vote on next
  diffpref profile add me.profile more.jsonl           learn on
  diffpref score DIR --scorer profile:me.profile       rank pictures by it

Votes are rows of two pictures of one prompt (see `diffpref data`), or folders of pictures you like
and dislike. Few votes say little by themselves: a profile starts from a population, whose people
show how tastes differ (--prior; `train-reward --head bt-prior` learns one). The file holds numbers
and hashes, never pictures, prompts or names.
"""

app = verb_app(ABOUT, no_args_is_help=True)


@app.command()
def fit(
    votes: options.Votes = None,
    *,
    out: options.Out,
    prior: options.PriorName = "bt-world",
    encoder: options.Encoder = "bt",
    vlm: options.Vlm = None,
    user: options.User = None,
    liked: options.Liked = None,
    disliked: options.Disliked = None,
    prompt: scoring.Prompt = None,
    prompts_from: scoring.PromptsFrom = None,
    keep_statistics: options.Keep = False,
    part: options.Split = "train",
    format: options.Format = None,
    cache: options.Cache = Path("cache"),
    weights_dir: options.WeightsDir = None,
    device: sampling.Device = "auto",
    force: sampling.Force = False,
    json: sampling.Json = False,
) -> None:
    """Learn one person's taste from votes, or from pictures they like and dislike.

    Says honestly what it is worth: every vote is foreseen by the profile of the others and by the
    population alone. With fewer than four pairs, or where the population foresees as well, a
    warning says so. Pairs of one prompt say most; likes against dislikes also differ in subject.
    """
    from diffpref.users.change import fit_profile
    from diffpref.users.likes import read_likes
    from diffpref.users.prior_file import find_prior
    from diffpref.users.profile_file import save_profile
    from diffpref.users.read import read_person

    if (votes is None) == (liked is None and disliked is None):
        hint = "give VOTES, or --liked DIR and --disliked DIR"
        raise UsageError("give votes or pictures, one of them", where="profile fit", hint=hint)
    options.free(out, force)
    if encoder == "vlm":
        asked = FromVlm(run=prior, folder=vlm, user=user, format=format, part=part, device=device)
        asked.write(votes, out, keep_statistics=keep_statistics, json=json)
        return
    if vlm is not None:
        hint = "add --encoder vlm, or leave it out"
        raise UsageError(f"encoder {encoder} reads no such model", where="--vlm", hint=hint)
    population = find_prior(prior, out.parent)
    store = options.store_of(population, cache, weights_dir, device)
    if votes is not None:
        told = read_person(population, votes, store, user=user, format=format, split=part)
    else:
        good, bad = options.pictures(liked), options.pictures(disliked)
        known = options.known_prompts([*good, *bad], prompt, prompts_from)
        told = read_likes(population, good, bad, store, known)
    profile = fit_profile(
        population, told.votes, encoder=encoder, keep=keep_statistics, sources=told.sources
    )
    save_profile(out, profile)
    tell(profile, out, json, notes=told.notes)


@app.command()
def show(
    profile: options.Profile,
    *,
    prior: options.Beside = None,
    votes: options.ShowVotes = False,
    json: sampling.Json = False,
) -> None:
    """Say what was learned, how sure it is, and whether it beats the population."""
    from diffpref.users.profile_file import load_profile
    from diffpref.users.vlm.profile import load_vlm_profile

    seen = load_vlm_profile(profile)
    if seen is not None:
        tell_vlm(seen, profile, json)
    else:
        tell(load_profile(profile, prior), profile, json, votes=votes)


@app.command()
def delete(
    profile: options.Profile, *, yes: options.Yes = False, json: sampling.Json = False
) -> None:
    """Delete a profile. It is checked to be one first; the votes' own files stay where they are."""
    from diffpref.users.profile_file import require_profile

    require_profile(profile)
    if not yes:
        hint = f"diffpref profile delete {profile} --yes"
        raise UsageError("add --yes to really delete it", where=str(profile), hint=hint)
    try:
        profile.unlink()
    except OSError as error:
        what, hint = f"cannot be deleted: {error.strerror}", "check the folder's permissions"
        raise DataError(what, where=str(profile), hint=hint) from error
    if json:
        write_json({"deleted": str(profile)})
    else:
        typer.echo(f"deleted {profile}; embeddings of the pictures may remain in --cache")


for verb in (add, forget, mix, ask):
    app.command()(verb)
