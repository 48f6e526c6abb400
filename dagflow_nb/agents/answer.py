"""A language model's answer, as it arrives."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator
from typing import Any

from ..actions import NodeCtx
from ..errors import shorten

_DONE = re.compile(rb"[\r\n]data: ?\[DONE\]")  # JSON has no line break inside: no text looks like it
_LONGEST = 13  # of its bytes, those that may have come in the piece before


class Answer:
    """An answer as it arrives, piece by piece.

    `begun`: something came; `whole`: the endpoint has said that nothing more comes.
    """

    def __init__(self) -> None:
        self.begun = self.whole = False
        self.text = self.refusal = ""
        self.finish: str | None = None
        self.model: str | None = None
        self.usage: dict[str, Any] = {}
        self._calls: dict[int, dict[str, str]] = {}

    def watch(self, response: Any) -> None:
        """Listen for `[DONE]` in a stream, which the client keeps to itself."""
        read = response.aiter_bytes

        async def reading(*args: Any, **kwargs: Any) -> AsyncIterator[bytes]:
            before = b"\n"
            async for piece in read(*args, **kwargs):
                self.whole = self.whole or _DONE.search(before + piece) is not None
                before = (before + piece)[-_LONGEST:]
                yield piece

        response.aiter_bytes = reading

    def take(self, chunk: Any, ctx: NodeCtx) -> None:
        """One more piece."""
        if not hasattr(chunk, "choices"):
            raise ValueError("it sent something that is no part of an answer")
        self.model = chunk.model or self.model
        if chunk.usage is not None:
            self.usage = chunk.usage.model_dump(exclude_none=True)
        for choice in (chunk.choices or ())[:1]:
            self.finish = choice.finish_reason or self.finish
            delta = choice.delta
            if delta is None:
                continue
            if delta.content:
                self.text += delta.content
                ctx.stream(delta.content)
            self.refusal += getattr(delta, "refusal", None) or ""
            for position, part in enumerate(delta.tool_calls or ()):
                self._take_call(position if part.index is None else part.index, part)

    def _take_call(self, index: int, part: Any) -> None:
        known = self._calls.get(index)
        if known is not None and part.id and known["id"] and part.id != known["id"]:
            index = max(self._calls) + 1  # an endpoint that does not count
            known = None
        if known is None:
            known = self._calls[index] = {"id": "", "name": "", "arguments": ""}
        known["id"] = part.id or known["id"]
        if part.function is not None:
            known["name"] += part.function.name or ""
            known["arguments"] += part.function.arguments or ""

    def take_whole(self, body: Any, ctx: NodeCtx) -> None:
        """All of it, as an endpoint sends it that does not stream."""
        from openai.types.chat import ChatCompletion

        error = body.get("error") if isinstance(body, dict) else None
        if error or not isinstance(body, dict) or not body.get("choices"):
            raise ValueError(f"it sent no answer but {shorten(error or body)}")
        whole = ChatCompletion.construct(**body)
        self.whole = True
        self.model, self.finish = whole.model, whole.choices[0].finish_reason
        self.usage = whole.usage.model_dump(exclude_none=True) if whole.usage is not None else {}
        message = whole.choices[0].message
        self.text, self.refusal = message.content or "", message.refusal or ""
        ctx.stream(self.text)
        for index, call in enumerate(message.tool_calls or ()):
            self._take_call(index, call)

    def is_empty(self) -> bool:
        """Whether nothing has been said."""
        return not self.text and not self._calls and not self.refusal

    def tokens(self) -> int:
        """What it took, as far as the endpoint told."""
        parts = ("prompt_tokens", "completion_tokens")
        return int(self.usage.get("total_tokens") or sum(self.usage.get(part) or 0 for part in parts))

    def calls(self) -> list[dict[str, Any]]:
        """The tool calls that it asks for, as messages have them."""
        return [
            {
                "id": call["id"] or f"call_{secrets.token_hex(4)}",
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"] or "{}"},
            }
            for _, call in sorted(self._calls.items())
        ]
