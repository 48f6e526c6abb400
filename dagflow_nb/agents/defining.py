"""The part of `DagFlow` that language models work with: tools and planners."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from ..actions import as_action
from ..definitions import Definitions
from .tools import Tools, make_tool

if TYPE_CHECKING:
    from pydantic import BaseModel, SecretStr


class Agents(Definitions):
    """The part of `DagFlow` that takes definitions, those for language models among them."""

    def tool(self, fn: Any = None, /, **settings: Any) -> Any:
        """Register an action that language models are told of: `@flow.tool`, with the settings of
        `@flow.action`.

        `flow.tools.schemas(style)` gives its JSON schema: the parameters by their annotations, described by
        the docstring (`Args:` in Google's style) or by `Annotated[..., Field(description="...")]`.
        `ValidationError` for a name that the APIs refuse.

        >>> from dagflow_nb import DagFlow
        >>> with DagFlow(":memory:") as flow:
        ...     @flow.tool
        ...     def search(query: str) -> list[str]:
        ...         '''Search the web.'''
        ...         return [f"about {query}"]
        ...     flow.tools.schemas("mcp")[0]["inputSchema"]["required"]
        ['query']
        """
        if isinstance(fn, str):
            settings["name"], fn = fn, None
        if fn is None:
            return partial(self._define, settings, make=make_tool)
        return self._define(settings, fn, make=make_tool)

    @property
    def tools(self) -> Tools:
        """The tools: `flow.tools.schemas("openai" | "anthropic" | "mcp")`; iterated it gives their names."""
        return Tools(self._session.registry)

    def llm(
        self,
        name: str,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | SecretStr | None = None,
        system: str | None = None,
        output: type[BaseModel] | None = None,
        tools: Iterable[Any] | None = None,
    ) -> Any:
        """Register an action that asks a language model over an OpenAI-compatible endpoint.

        It needs `pip install 'dagflow-nb[llm]'`. `model`: what the endpoint calls it. `base_url`: the
        endpoint; None: `OPENAI_BASE_URL`, else OpenAI's. `api_key`: None takes `OPENAI_API_KEY`; an endpoint
        of your own may need none. The key is in no database, log, repr or error. `system`: what the model is
        told first. `output`: a pydantic model that the answer has to be. `tools`: what the model is offered,
        as names of actions or as functions (plain ones are registered); `flow.tools`: all that there are.

        Inputs: `prompt` (a text), or `messages` (a conversation, such as the output `messages` of an earlier
        node), or both; `history` (steps that a planner has run). Outputs: `text`; `messages`, the whole
        conversation with the answer; `tool_calls`, which are asked for and never run here; `result`, the
        instance of `output` (else None). The text is streamed into the live view, its tokens count as usage.
        Outside of a workflow `await ask("Hello?")` gives the outputs as a dict.

        A node tries again, as often as its `try_count` says, where the endpoint cannot be reached, is busy
        (429), fails (5xx) or breaks off, and where an answer is no `output`; not where the request is
        refused. A timeout or cancellation of the attempt ends the request. A wrong argument is a
        `ValidationError`.

        >>> from dagflow_nb import DagFlow
        >>> with DagFlow(":memory:") as flow:
        ...     flow.llm("ask", "llama3.2", base_url="http://localhost:11434/v1", system="Be brief.")
        <action ask(...)>
        """
        from .client import RETRY_ON
        from .llm import LanguageModel  # pydantic's models of messages come in only here

        given = () if tools is None else (tools,) if isinstance(tools, str) else tuple(tools)
        for tool in given:
            if not isinstance(tool, str) and as_action(tool).name not in self._session.registry:
                self._define({}, tool, make=make_tool)
        session = self._session
        made = LanguageModel(
            name,
            model,
            base_url=base_url,
            api_key=api_key,
            system=system,
            output=output,
            tools=given,
            find=lambda tool: session.registry.need(tool),
        )
        return self._define({"retry_on": RETRY_ON}, made)
