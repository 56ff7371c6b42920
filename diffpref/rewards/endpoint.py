"""A model behind an HTTP address, as a small file or the environment describes it."""

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypeVar

from diffpref.errors import ConfigError, UsageError
from diffpref.io.http import Patience, check_address, post_json
from diffpref.rewards.fields import Fields

T = TypeVar("T")

SECRETS = ("key", "api_key", "token", "password")


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a model answers.

    Attributes:
        url: base address, such as http://127.0.0.1:8000/v1.
        model: the name the server knows it by.
        key_variable: environment variable with the key; the key itself is never kept.
        patience: timeout and retries.
        workers: requests under way at once.
        extra: fields added to every request; null takes one out.
    """

    url: str
    model: str
    key_variable: str
    patience: Patience = field(default_factory=Patience)
    workers: int = 4
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def id(self) -> str:
        """Return what the answers depend on, by content; the address itself is not told."""
        return sha256(
            f"{self.url}\n{self.model}\n{sorted(self.extra.items())}".encode()
        ).hexdigest()

    def ask(self, path: str, body: Mapping[str, object]) -> object:
        """Send one request to a path below the base address.

        Raises:
            EndpointError: no answer in the end.
        """
        whole = {"model": self.model, **body, **self.extra}
        sent = {name: value for name, value in whole.items() if value is not None}
        key = os.environ.get(self.key_variable, "").strip() or None
        return post_json(self.url.rstrip("/") + path, sent, key=key, patience=self.patience)

    def together(self, work: Callable[[T], object], items: Sequence[T]) -> None:
        """Do something for every item, `workers` at once; the first error ends it."""
        if items:
            with ThreadPoolExecutor(min(self.workers, len(items))) as pool:
                deque(pool.map(work, items), maxlen=0)


def endpoint_of(told: Fields, variables: str, where: str) -> Endpoint:
    """Return the endpoint of a description; what it leaves out comes from the environment.

    Args:
        told: may have url, model, key_variable, timeout, retries, workers and extra.
        variables: beginning of the environment variables, as DIFFPREF_JUDGE; _URL, _MODEL and
            _KEY follow.
        where: the scorer, for messages.

    Raises:
        UsageError: no address or model is given, or the address is none.
        ConfigError: a field has another type, or holds a key.
    """
    for name in SECRETS:
        if told.has(name):
            hint = f"put it into an environment variable, such as {variables}_KEY"
            raise ConfigError("a key does not belong in a file", where=told.where, hint=hint)
    values = {}
    for name in ("url", "model"):
        values[name] = told.text(name, os.environ.get(f"{variables}_{name.upper()}", ""))
        if not values[name]:
            hint = f"set {variables}_{name.upper()}, or write  {name}: ...  into its file"
            raise UsageError(f"it has no {name}", where=where, hint=hint)
    check_address(values["url"], key=None)
    return Endpoint(
        **values,
        key_variable=told.text("key_variable", f"{variables}_KEY"),
        patience=Patience(
            timeout=told.number("timeout", 120.0, above=0.0), retries=told.whole("retries", 4)
        ),
        workers=told.whole("workers", 4, least=1),
        extra=told.object("extra"),
    )
