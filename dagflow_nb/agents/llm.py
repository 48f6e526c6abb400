"""`LanguageModel`: an action that asks a model over an OpenAI-compatible endpoint (chat completions).

The answer is streamed to whoever watches, its tokens are counted, and the engine tries again where that is
worth it. Tools are only offered: what a model asks for is an output, which a planner turns into nodes.
"""

from __future__ import annotations

import inspect
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pydantic

from ..actions import NodeAction, NodeCtx
from ..core.model import NodeOutput
from ..errors import ModelError, ModelUnavailable, ValidationError, WrongModelAnswer, shorten
from .answer import Answer
from .client import (
    ENDPOINT,
    client_of_loop,
    explained,
    is_endpoint,
    is_key,
)
from .conversation import Message, conversation, problems_with
from .tools import schema

_FENCE = re.compile(r"\s*```\w*\s*\n(.*?)\n?\s*```\s*", re.DOTALL)
_OUTPUTS = ("text", "messages", "tool_calls", "result")
_INPUTS = {
    "prompt": {"type": "string", "description": "What is asked."},
    "messages": {"type": "array", "items": {"type": "object"}, "description": "The conversation so far."},
    "history": {"type": "array", "items": {"type": "object"}, "description": "What was done since, by step."},
}


class _Hidden:
    """A value that is neither shown, pickled nor part of a fingerprint."""

    __slots__ = ("value",)

    def __init__(self, value: Any = None) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        return _Hidden, ()

    def __repr__(self) -> str:
        return "..."


class LanguageModel(NodeAction):
    """The action behind `flow.llm`, where its arguments are told; `find` gives a tool by its name.

    A wrong argument is a `ValidationError` that names it.
    """

    def __init__(
        self,
        name: str,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | pydantic.SecretStr | None = None,
        system: str | None = None,
        output: type[pydantic.BaseModel] | None = None,
        tools: Iterable[str] = (),
        find: Callable[[str], NodeAction] | None = None,
    ) -> None:
        _check("model", model, isinstance(model, str) and bool(model), "a model's name")
        if base_url is not None and not is_endpoint(base_url):
            # what is wrong with it may be a password in it
            raise ValidationError(
                "base_url is an address such as 'http://localhost:11434/v1', without a user and password",
                culprit="base_url",
            )
        if isinstance(api_key, pydantic.SecretStr):
            api_key = api_key.get_secret_value()
        if api_key is not None and not (isinstance(api_key, str) and is_key(api_key.strip())):
            raise ValidationError(
                "api_key is a SecretStr, a text of printable ASCII characters, or None", culprit="api_key"
            )
        _check("system", system, system is None or isinstance(system, str), "a text")
        is_model = isinstance(output, type) and issubclass(output, pydantic.BaseModel)
        _check("output", output, output is None or is_model, "a pydantic model (a class)")
        self._name, self.model, self.base_url = name, model, base_url
        self.system, self.output, self._tools = system, output, tools
        self._key, self._find = _Hidden(api_key), _Hidden(find)

    @property
    def name(self) -> str:
        """The name that workflows use."""
        return self._name

    @property
    def input_schema(self) -> dict[str, Any]:
        """What it takes: a prompt, messages, a history."""
        return {"type": "object", "properties": _INPUTS, "additionalProperties": False}

    @property
    def output_schema(self) -> dict[str, Any]:
        """What it gives, by name."""
        return {"type": "object", "properties": {name: {} for name in _OUTPUTS}}

    @property
    def signature(self) -> inspect.Signature:
        """The inputs, as a function's parameters."""
        return inspect.signature(self.__call__)

    async def __call__(self, prompt: Any = None, messages: Any = None, history: Any = None) -> dict[str, Any]:
        """Asks outside of a workflow: `(await ask("Hello?"))["text"]`; the outputs as a dict."""
        given = {"prompt": prompt, "messages": messages, "history": history}
        if problems := self.validate_inputs(given):
            raise ValidationError(f"{self.name}(): {'; '.join(problems)}", culprit="prompt")
        return dict((await self.execute(NodeCtx(inputs=given))).outputs)

    def validate_inputs(self, inputs: Mapping[str, Any]) -> list[str]:
        """Says what is wrong with the inputs."""
        return problems_with(inputs)

    async def execute(self, ctx: NodeCtx) -> NodeOutput:
        """Asks the model; `text`, `messages`, `tool_calls` and `result` are the outputs."""
        messages = conversation(ctx.inputs, self.system)
        tools = [schema(self._find.value(name), "openai") for name in self.offers]
        answer = await self._ask(ctx, messages, tools)
        calls = answer.calls()
        said: Message = {"role": "assistant", "content": answer.text or (None if calls else "")}
        if calls:
            said["tool_calls"] = calls
        result = self._read(answer) if self.output is not None and not calls else None
        if answer.finish in (None, "length"):
            reached = "it had reached the most tokens that are allowed"
            why = reached if answer.finish else "no finish_reason was sent"
            ctx.log(f"the answer may have been cut off: {why}", "WARNING")
        outputs = dict(zip(_OUTPUTS, (answer.text, [*messages, said], calls, result), strict=True))
        about = {"model": answer.model or self.model, "finish_reason": answer.finish, "usage": answer.usage}
        return NodeOutput.ok(outputs, metadata=about)

    @property
    def offers(self) -> tuple[str, ...]:
        """The names of the tools that the model is offered: a planner of it may use these alone."""
        return tuple(self._tools)

    @property
    def _endpoint(self) -> str:
        return (self.base_url or os.environ.get("OPENAI_BASE_URL") or ENDPOINT).rstrip("/")

    async def _ask(self, ctx: NodeCtx, messages: list[Message], tools: list[dict[str, Any]]) -> Answer:
        endpoint = self._endpoint
        place: dict[str, Any] = {"endpoint": endpoint, "model": self.model}
        key = (self._key.value or os.environ.get("OPENAI_API_KEY", "")).strip()
        if not is_key(key):
            raise ModelError("OPENAI_API_KEY is no key: set it to printable ASCII characters", **place)
        if not key and endpoint == ENDPOINT:
            text = f"{endpoint} needs a key: set OPENAI_API_KEY, or give api_key= (or another base_url=)"
            raise ModelError(text, **place)
        try:
            client = await client_of_loop()
        except ImportError as missing:
            if missing.name != "openai":
                raise
            text = f"action {self.name!r} needs the package openai: pip install 'dagflow-nb[llm]'"
            raise ModelError(text, **place) from None
        import openai

        asked: dict[str, Any] = {"model": self.model, "messages": messages}
        if tools:
            asked["tools"] = tools
        if self.output is not None:
            asked["response_format"] = _response_format(self.output)
        if not key:
            asked["extra_headers"] = {"Authorization": openai.Omit()}
        answer = Answer()
        try:
            client = client.with_options(api_key=key or "-", base_url=endpoint)
            stream = await client.chat.completions.create(
                **asked, stream=True, stream_options={"include_usage": True}
            )
            answer.begun = True
            async with stream:
                if "json" in stream.response.headers.get("content-type", ""):
                    # an endpoint that does not stream
                    answer.take_whole(json.loads(await stream.response.aread()), ctx)
                else:
                    answer.watch(stream.response)
                    async for chunk in stream:
                        answer.take(chunk, ctx)
        except Exception as error:
            # clients before 3.0 let through what httpx raises in the middle of an answer
            of_client = isinstance(error, openai.OpenAIError | ValueError)
            if not of_client and not type(error).__module__.startswith("httpx"):
                raise
            # not as a cause: an endpoint may repeat the key
            raise explained(error, endpoint, self.model, key, answer.begun) from None
        finally:
            if answer.usage:
                ctx.report_usage(tokens=answer.tokens())
        who = f"model {self.model!r} at {endpoint}"
        wrote = "" if answer.is_empty() else f"; it wrote {shorten(answer.text, 300)}"
        if answer.finish is None and (answer.is_empty() or not answer.whole):
            raise ModelUnavailable(
                f"{who} broke off its answer (neither a finish_reason nor [DONE] came){wrote}", **place
            )
        if answer.finish == "content_filter":
            text = f"{who}: its content filter held the answer back: ask for something else, or another model"
            raise ModelError(f"{text}{wrote}", **place)
        return answer

    def _read(self, answer: Answer) -> pydantic.BaseModel:
        """The answer as an instance of the output model."""
        assert self.output is not None
        fenced = _FENCE.fullmatch(answer.text)
        try:
            return self.output.model_validate_json(fenced[1] if fenced else answer.text)
        except pydantic.ValidationError as bad:
            wrong = [f"{'.'.join(map(str, e['loc'])) or 'the answer'}: {e['msg']}" for e in bad.errors()]
            found = "; ".join(wrong[:5])
        if answer.refusal:
            found = f"it refused: {answer.refusal}"
        elif answer.finish == "length":
            found = f"it was cut off at the most tokens that are allowed ({found})"
        raise WrongModelAnswer(
            f"model {self.model!r} did not answer as {self.output.__name__}: {found}; it wrote "
            f"{shorten(answer.text, 300)}",
            endpoint=self._endpoint,
            model=self.model,
        )

    def __repr__(self) -> str:
        return f"<LanguageModel {self.name!r}: {self.model} at {self._endpoint}>"


def _response_format(output: type[pydantic.BaseModel]) -> dict[str, Any]:
    from openai import pydantic_function_tool

    strict = pydantic_function_tool(output)["function"]
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", output.__name__)[:64]
    return {
        "type": "json_schema",
        "json_schema": {"name": name, "schema": strict.get("parameters"), "strict": True},
    }


def _check(name: str, value: Any, good: bool, allowed: str) -> None:
    if not good:
        raise ValidationError(f"{name} is {allowed}, not {shorten(value)}", culprit=name, value=value)
