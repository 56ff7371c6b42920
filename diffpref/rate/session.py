"""One person at the page: what is asked, what was answered, and what it amounts to."""

from threading import RLock

from diffpref.rate.book import Book
from diffpref.rate.entries import Entry
from diffpref.rate.gallery import Gallery
from diffpref.rate.pair import Pair
from diffpref.rate.plan import Plain, Plan, Refused
from diffpref.rate.pool import Pool
from diffpref.rate.question import CHOICES, Asked, asked
from diffpref.rate.show import Show, Stage
from diffpref.rate.taste import Taste
from diffpref.rate.view import answered, progress, seen
from diffpref.users.profile import UserProfile


class Session:
    """Answers the page's requests, one at a time; every answer is on the disk before it is told."""

    def __init__(
        self,
        book: Book,
        pool: Pool,
        plan: Plan,
        *,
        taste: Taste | None = None,
        show: Show | None = None,
    ) -> None:
        self.book, self.pool, self.plan = book, pool, plan
        self.gallery = Gallery()
        self._taste, self._goal = taste, plan.goal
        self._lock = RLock()
        self._given: dict[str, str] = {}
        self._asked: Asked | None = None
        self._profile: UserProfile | None = None
        self._result: Plain | None = None
        self.stage = Stage(show, self.gallery)
        self._learn()

    @property
    def result(self) -> Plain | None:
        """The words of the end, once the person has finished."""
        return self._result

    def close(self) -> None:
        """Wait for what the model has begun: a process that ends under its threads crashes."""
        self.pool.stop()
        self.pool.wait()
        self.stage.wait()

    def so_far(self) -> Plain:
        """Return the words of the end without ending it."""
        return self._end()

    def state(self) -> Plain:
        """Return what the page shows."""
        with self._lock:
            self._choose()
            last = self._last()
            return {
                "mode": self.plan.mode,
                "question": None if self._asked is None else seen(self._asked, self.gallery),
                "making": self.pool.growing,
                "fault": self.pool.fault,
                "progress": progress(self.book.mine(), self.pool, self.plan, self._goal),
                "undo": None if last is None or self._result is not None else last.nonce,
                "profile": None if self._profile is None else self._profile.summary(),
                "show": self.stage.plain() if self._profile is not None else None,
                "result": self._result,
            }

    def answer(self, nonce: str, choice: str) -> Plain:
        """Take an answer; the same one again changes nothing.

        Raises:
            Refused: another pair is asked, or it is over.
            DiskError: it is not safely stored; the pair stays on the page.
        """
        with self._lock:
            if self._given.get(nonce) == choice:
                return self.state()
            now = self._asked
            if now is None or now.nonce != nonce or choice not in CHOICES:
                raise Refused("this pair was answered already, perhaps in another window")
            if choice == "skip":
                self.book.skip(now.pair, nonce=nonce)
            else:
                self.book.vote(now.pair, now.shares(choice), nonce=nonce, left=now.left)
            self._given[nonce], self._asked = choice, None
            if choice != "skip":
                self._learn()
            return self.state()

    def undo(self, nonce: str) -> Plain:
        """Take the last answer back and ask its pair again.

        Raises:
            Refused: it is not the last one, or it is over.
            DiskError: nothing was taken back.
        """
        with self._lock:
            last = self._last()
            if last is None or last.nonce != nonce or self._result is not None:
                raise Refused("only the last answer can be taken back")
            gone = self.book.undo(nonce)
            pair = self.pool.get(gone.pair)
            self._asked = None if pair is None else asked(pair, seed=self.plan.seed)
            if not gone.skipped:
                self._learn()
            return self.state()

    def more(self) -> Plain:
        """Go on after the goal, for as many pairs again."""
        with self._lock:
            if self.plan.goal is not None and self._goal is not None:
                self._goal = self._answered() + self.plan.goal
            return self.state()

    def finish(self) -> Plain:
        """End it. A study shows its labels now, and takes no vote after that."""
        with self._lock:
            if self._result is None:
                if self.plan.mode == "study" and not self.book.revealed:
                    self.book.reveal()
                self._result = self._end()
                self._asked = None
            self.pool.stop()
            return self.state()

    def show(self, prompt: str) -> Plain:
        """Begin to make pictures this person may like; the state tells when they are there.

        Raises:
            Refused: there is no model, or it is busy.
        """
        with self._lock:
            if self._profile is None or not self.stage.begin(self._profile, prompt):
                raise Refused("no model is loaded, or it is making pictures already")
            return self.state()

    def _end(self) -> Plain:
        return {} if self.plan.result is None else self.plan.result(self.book.mine())

    def _last(self) -> Entry | None:
        mine = self.book.mine()
        return mine[-1] if mine else None

    def _learn(self) -> None:
        if self._taste is None:
            return
        self._profile = self._taste.learn(self.book.mine(), self.book.folder)
        if self.plan.learned is not None:
            self.plan.learned(self._profile)

    def _open(self) -> list[Pair]:
        done = {each.pair for each in self.book.mine()}
        return [pair for pair in self.pool.pairs() if pair.id not in done]

    def _answered(self) -> int:
        return answered(self.book.mine(), self.pool)

    def _choose(self) -> None:
        """Put a pair on the page if there is none and one is wanted."""
        blind = self.plan.mode != "study" or not self.book.revealed
        if self._asked is not None or self._result is not None or not blind:
            return
        left = self._open()
        if not left or (self._goal is not None and self._answered() >= self._goal):
            return
        if self._taste is None or self._profile is None:
            self._asked = asked(left[0], seed=self.plan.seed)
            return
        pair, why = self._taste.question(self._profile, left)
        self._asked = asked(pair, seed=self.plan.seed, bits=why.bits)
