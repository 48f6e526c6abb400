"""The client of an OpenAI-compatible endpoint, one a loop and closed with it; its errors in our words."""

from __future__ import annotations

import asyncio
import json
import weakref
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import urlsplit

from ..errors import ModelError, ModelUnavailable, WrongModelAnswer

ENDPOINT = "https://api.openai.com/v1"
_MOST_TOLD = 500  # characters of what an endpoint says
_WORTH_ANOTHER = (408, 409, 425, 429)


# what the engine tries again; an attempt's timeout is a `TimeoutError`
RETRY_ON = (ModelUnavailable, WrongModelAnswer, TimeoutError)

_clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[Any, AsyncGenerator[None]]]
_clients = weakref.WeakKeyDictionary()


async def client_of_loop() -> Any:
    """The `AsyncOpenAI` of the running loop, without a key; closed when the loop shuts down.

    It is made in a thread: importing it takes half a second. `ImportError` if it is not installed.
    """
    loop = asyncio.get_running_loop()
    if loop not in _clients:
        client = await asyncio.to_thread(_make)
        if loop not in _clients:
            closing = _close_with_loop(client)
            await anext(closing)
            _clients[loop] = client, closing
        else:
            await client.close()
    return _clients[loop][0]


def _make() -> Any:
    from openai import AsyncOpenAI

    # the key comes with each request; who runs actions tries again, too
    return AsyncOpenAI(api_key="-", base_url=ENDPOINT, max_retries=0)


async def _close_with_loop(client: Any) -> AsyncGenerator[None]:
    # a loop that shuts down closes the generators that were begun on it
    try:
        yield
    finally:
        await client.close()


def explained(error: Exception, endpoint: str, model: str, key: str | None, begun: bool) -> ModelError:
    """What went wrong with a request, and what to do; without the key, whatever the endpoint says.

    `begun`: the endpoint had begun to answer.
    """
    import openai

    status: int | None = getattr(error, "status_code", None)
    told = _told(error, key)
    who = f"model {model!r} at {endpoint}"
    place: dict[str, Any] = {"endpoint": endpoint, "model": model, "status": status}
    if status is None:
        if isinstance(error, openai.APITimeoutError):
            return ModelUnavailable(f"{who} did not answer in time", **place)
        if isinstance(error, openai.APIConnectionError) and not begun:
            cause = error.__cause__ or error
            why = _without(f"{type(cause).__name__}: {cause}", key)
            text = f"{endpoint} cannot be reached ({why}): is it running, and is base_url right?"
            return ModelUnavailable(text, **place)
        if not begun and not isinstance(error, openai.APIError):
            return ModelError(f"{who} cannot be asked this: {told}", **place)
        return ModelUnavailable(f"{who} broke off its answer: {told}", **place)
    if status == 429 and getattr(error, "code", None) == "insufficient_quota":
        return ModelError(f"{who} has no quota left (429): {told}", **place)
    if status in _WORTH_ANOTHER or status >= 500:
        return ModelUnavailable(f"{who} gave no answer ({status}): {told}", **place)
    way_out = {
        401: "give a valid key as api_key=, or as OPENAI_API_KEY",
        403: "this key may not use it: give another one as api_key=, or another model",
        404: "is there this model, and is base_url right (it mostly ends in /v1)?",
    }.get(status, "the request is wrong for it: see what it takes")
    return ModelError(f"{who} refuses the request ({status}: {told}): {way_out}", **place)


def _told(error: Exception, key: str | None) -> str:
    """What the endpoint says of an error."""
    if isinstance(error, json.JSONDecodeError):
        return f"it sent no JSON ({error.msg})"
    body = getattr(error, "body", None)
    text = body.get("message") if isinstance(body, dict) else body if isinstance(body, str) else None
    return _without(str(text or error), key)


def _without(text: str, key: str | None) -> str:
    text = text.replace(key, "***") if key else text
    text = " ".join(text.split())
    return text if len(text) <= _MOST_TOLD else f"{text[:_MOST_TOLD]}..."


def is_key(text: str) -> bool:
    """Whether it can be sent as a key (no key can)."""
    return text.isascii() and text.isprintable()


def is_endpoint(text: Any) -> bool:
    """Whether it is an address over HTTP, without a user and password in it."""
    if not isinstance(text, str):
        return False
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
