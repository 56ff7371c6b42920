"""`diffpref profile`: a person's taste from a few votes, in a file of a few kilobytes."""

from pathlib import Path

import typer

from diffpref.cli import profile_options as options
from diffpref.cli import sample_options as sampling
from diffpref.cli import scorer_options as scoring
from diffpref.cli.app import verb_app, write_columns, write_json
from diffpref.cli.profile_show import tell
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
    from diffpref.users.prior_file import find_prior
    from diffpref.users.profile_file import save_profile
    from diffpref.users.read import read_likes, read_person

    if (votes is None) == (liked is None and disliked is None):
        hint = "give VOTES, or --liked DIR and --disliked DIR"
        raise UsageError("give votes or pictures, one of them", where="profile fit", hint=hint)
    _free(out, force)
    population = find_prior(prior, out.parent)
    store = options.store_of(population, cache, weights_dir, device)
    if votes is not None:
        told = read_person(population, votes, store, user=user, format=format, split=part)
    else:
        good, bad = _pictures(liked), _pictures(disliked)
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

    tell(load_profile(profile, prior), profile, json, votes=votes)


@app.command()
def add(
    profile: options.Profile,
    votes: options.More,
    *,
    out: options.Maybe = None,
    prior: options.Beside = None,
    user: options.User = None,
    part: options.Split = "train",
    format: options.Format = None,
    cache: options.Cache = Path("cache"),
    weights_dir: options.WeightsDir = None,
    device: sampling.Device = "auto",
    json: sampling.Json = False,
) -> None:
    """Learn on from more votes of the same person.

    Exact where statistics were kept: the same file as a fit to all votes, and a vote given before
    counts once. Otherwise a Laplace update, which is near, and says so; a vote given before counts
    twice.
    """
    from diffpref.users.change import add as add_votes
    from diffpref.users.profile_file import load_profile, save_profile
    from diffpref.users.read import read_person

    found = load_profile(profile, prior)
    store = options.store_of(found.prior, cache, weights_dir, device)
    told = read_person(found.prior, votes, store, user=user, format=format, split=part)
    more = add_votes(found, told.votes, sources=told.sources)
    notes = told.notes
    if found.evidence is None:
        notes += ("no statistics were kept: a Laplace update, near a fit to all votes at once",)
    else:
        notes += (f"{more.pairs - found.pairs} votes are new; exact",)
    save_profile(out or profile, more)
    tell(more, out or profile, json, notes=notes)


@app.command()
def forget(
    profile: options.Profile,
    *,
    pair: options.Ids = None,
    votes: options.From = None,
    out: options.Maybe = None,
    prior: options.Beside = None,
    user: options.User = None,
    part: options.Split = "train",
    cache: options.Cache = Path("cache"),
    weights_dir: options.WeightsDir = None,
    device: sampling.Device = "auto",
    json: sampling.Json = False,
) -> None:
    """Take votes out again: the profile is then the one that never saw them, bit for bit.

    Needs a profile fitted with --keep-statistics. `profile show PROFILE --votes` lists the ids.
    """
    from diffpref.users.change import forget as forget_votes
    from diffpref.users.profile_file import load_profile, save_profile
    from diffpref.users.read import read_person

    found = load_profile(profile, prior)
    ids = list(pair or ())
    if votes is not None and found.evidence is not None:
        store = options.store_of(found.prior, cache, weights_dir, device)
        gone = read_person(found.prior, votes, store, user=user, split=part).votes.ids
        ids += [each for each in gone if each in found.evidence.ids]
    if not ids and found.evidence is not None:
        hint = "name one with --pair ID, or all of a source with --votes SOURCE"
        raise UsageError("no vote to forget", where="profile forget", hint=hint)
    less = forget_votes(found, ids)
    save_profile(out or profile, less)
    tell(less, out or profile, json, notes=(f"{found.pairs - less.pairs} votes forgotten",))


@app.command()
def mix(
    profiles: options.Profiles,
    *,
    out: options.Out,
    weights: options.Weights = None,
    prior: options.Beside = None,
    force: sampling.Force = False,
    json: sampling.Json = False,
) -> None:
    """Make somebody between several people: --weights 0.7,0.3; equal shares if left out."""
    from diffpref.users.change import mix as mix_profiles
    from diffpref.users.profile_file import load_profile, save_profile

    _free(out, force)
    shares = options.numbers(weights) if weights else [1.0] * len(profiles)
    found = mix_profiles([load_profile(each, prior) for each in profiles], shares)
    save_profile(out, found)
    tell(found, out, json)


@app.command()
def ask(
    profile: options.Profile,
    *,
    candidates: options.Candidates,
    count: options.Count = 4,
    prior: options.Beside = None,
    prompt: scoring.Prompt = None,
    prompts_from: scoring.PromptsFrom = None,
    cache: options.Cache = Path("cache"),
    weights_dir: options.WeightsDir = None,
    device: sampling.Device = "auto",
    json: sampling.Json = False,
) -> None:
    """Say which pairs of pictures to vote on next: those whose answers would teach most.

    Pictures of one prompt are paired; where no two share a prompt, all are. Each next pair is
    chosen as if the ones before it had been answered. The same question gives the same answer.
    """
    from diffpref.users.profile_file import load_profile
    from diffpref.users.questions import best_pairs

    found = load_profile(profile, prior)
    files = _pictures(candidates)
    known = options.known_prompts(files, prompt, prompts_from)
    store = options.store_of(found.prior, cache, weights_dir, device)
    rows = [
        {"first": str(one), "second": str(two), "bits": each.bits, "chance_first": each.chance}
        for one, two, each in best_pairs(found, files, known, store, count)
    ]
    if json:
        write_json(rows)
        return
    head = ("bits", "P(first)", "first", "second")
    write_columns(
        [
            head,
            *(
                (f"{x['bits']:.4f}", f"{x['chance_first']:.3f}", x["first"], x["second"])
                for x in rows
            ),
        ]
    )


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


def _free(out: Path, force: bool) -> None:
    if out.exists() and not force:
        hint = "add --force, or name another file; `profile add` learns on"
        raise UsageError("exists already", where=str(out), hint=hint)


def _pictures(folder: Path | None) -> list[Path]:
    from diffpref.evaluate.asked import image_files

    if folder is None:
        return []
    if not folder.exists():
        raise DataError("there is no such folder", where=str(folder), hint="check the path")
    return image_files([folder])
