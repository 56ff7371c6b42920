"""`diffpref profile add`, `forget`, `mix` and `ask`."""

from pathlib import Path

from diffpref.cli import profile_options as options
from diffpref.cli import sample_options as sampling
from diffpref.cli import scorer_options as scoring
from diffpref.cli.app import write_columns, write_json
from diffpref.cli.profile_show import tell
from diffpref.errors import UsageError


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

    options.free(out, force)
    shares = options.numbers(weights) if weights else [1.0] * len(profiles)
    found = mix_profiles([load_profile(each, prior) for each in profiles], shares)
    save_profile(out, found)
    tell(found, out, json)


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
    files = options.pictures(candidates)
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
