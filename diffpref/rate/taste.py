"""The profile that grows with every answer, and what it says to ask next."""

from collections.abc import Sequence
from logging import getLogger
from pathlib import Path
from threading import Lock

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.data.records import ImageRef, Record
from diffpref.data.votes import Collected, collect, to_pairs
from diffpref.io import BadImage, BadPath, open_image, safe_path
from diffpref.rate.entries import Entry
from diffpref.rate.pair import Pair, Picture, picture_of
from diffpref.rewards.heads.embeddings import EmbeddingStore
from diffpref.rewards.heads.items import Items
from diffpref.users.ask import Question, ask
from diffpref.users.change import fit_profile
from diffpref.users.evidence import evidence_of
from diffpref.users.prior import Prior
from diffpref.users.profile import UserProfile, null_profile
from diffpref.users.words import attributes_of

TOGETHER = 64
"""Pictures decoded at once."""


class Taste:
    """What a population and a person's votes say, with every picture's numbers kept in memory."""

    def __init__(self, prior: Prior, store: EmbeddingStore) -> None:
        self.prior = prior
        self._store = store
        self._looks: dict[bytes, Float[Tensor, " a"]] = {}
        self._gaps: dict[str, Float[Tensor, " p"]] = {}
        self._voted: dict[str, Picture] = {}
        self._prompts: set[str] = set()
        # Pictures may come from the thread that makes them while an answer is learned from.
        self._writing = Lock()

    def see(self, pairs: Sequence[Pair]) -> list[Pair]:
        """Embed and measure the pictures of pairs; return the pairs both of whose can be read."""
        pictures = {each.key: each for pair in pairs for each in pair.pictures}
        bad = self._see(list(pictures.values()))
        good = [pair for pair in pairs if not bad & {each.key for each in pair.pictures}]
        self._read([pair.prompt for pair in good])
        self._measure(good)
        return good

    def learn(self, entries: Sequence[Entry], folder: Path) -> UserProfile:
        """Return the profile of votes; those whose pictures are gone from the folder are left out.

        Args:
            entries: votes and skips; a skip says nothing.
            folder: where the votes' pictures are.
        """
        found = Collected()
        for entry, pictures in self._opened(entries, folder):
            refs = tuple(ImageRef(key=each.key.hex()) for each in pictures)
            record = Record(prompt=entry.prompt, images=refs, scores=entry.scores or (0.5, 0.5))
            collect(found, record, [each.key for each in pictures], "train")
        if not found.rows:
            return null_profile(self.prior)
        images = self._store.images([key for key, _ in found.images])
        pairs = to_pairs(found, images, self._store.prompts(list(found.prompts)))
        return fit_profile(self.prior, evidence_of(self.prior, pairs, self._looks), keep=True)

    def question(self, profile: UserProfile, pairs: Sequence[Pair]) -> tuple[Pair, Question]:
        """Return the pair, of those that `see` returned, whose answer would teach most."""
        gap = torch.stack([self._gaps[pair.id] for pair in pairs])
        best = ask(profile.belief, gap, 1)[0]
        return pairs[best.row], best

    def _opened(
        self, entries: Sequence[Entry], folder: Path
    ) -> list[tuple[Entry, tuple[Picture, Picture]]]:
        """Return the votes with their pictures, embedded if they are new here."""
        found: list[tuple[Entry, tuple[Picture, Picture]]] = []
        for entry in entries:
            if entry.skipped:
                continue
            try:
                first, second = (self._picture(folder, name) for name in entry.images)
                found.append((entry, (first, second)))
            except (BadImage, BadPath, OSError) as error:
                getLogger(__name__).warning("vote %s is not learned from: %s", entry.pair, error)
        bad = self._see([each for _, pictures in found for each in pictures])
        self._read([entry.prompt for entry, _ in found])
        return [(e, two) for e, two in found if not bad & {each.key for each in two}]

    def _picture(self, folder: Path, name: str) -> Picture:
        if name not in self._voted:
            self._voted[name] = picture_of(safe_path(folder, name))
        return self._voted[name]

    def _see(self, pictures: Sequence[Picture]) -> set[bytes]:
        """Embed and measure pictures that are new; return the keys of those that are unreadable."""
        new = {each.key: each for each in pictures if each.key not in self._looks}
        bad: set[bytes] = set()
        wanted = list(new.values())
        for start in range(0, len(wanted), TOGETHER):
            opened = {}
            for each in wanted[start : start + TOGETHER]:
                try:
                    opened[each.key] = open_image(each.data, where=each.key.hex())
                except BadImage as error:
                    getLogger(__name__).warning("a picture cannot be shown: %s", error)
                    bad.add(each.key)
            with self._writing, self._store:
                self._store.add_images(opened)
            self._looks |= {key: attributes_of(image) for key, image in opened.items()}
        return bad

    def _read(self, prompts: Sequence[str]) -> None:
        """Embed prompts that are new."""
        new = list(dict.fromkeys(each for each in prompts if each not in self._prompts))
        if new:
            with self._writing, self._store:
                self._store.add_prompts(new)
            self._prompts |= set(new)

    @torch.no_grad()
    def _measure(self, pairs: Sequence[Pair]) -> None:
        """Keep the whitened feature difference of every pair."""
        if not pairs:
            return
        prompt = self._store.prompts([pair.prompt for pair in pairs])
        sides = [
            self.prior.whitening(Items(image=self._store.images(list(keys)), prompt=prompt))
            for keys in zip(*((p.first.key, p.second.key) for p in pairs), strict=True)
        ]
        for pair, gap in zip(pairs, sides[0] - sides[1], strict=True):
            self._gaps[pair.id] = gap
