"""The part of `DagFlow` that language models work with: tools and planners."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from ..actions import Action, FunctionAction, NodeAction, as_action
from ..api.definitions import Definitions, shown_with
from ..core.graph import Node
from ..core.messages import RetryNodes
from ..core.rerun import reached
from ..errors import ValidationError, shorten
from ..hooks import EventHook, make_hook
from ..runtime.session import Session
from ..workflow.builder import Workflow
from .planner import KINDS, Planner, planner_gave_up
from .rounds import need_planners
from .tools import Tools, make_tool

if TYPE_CHECKING:
    from pydantic import BaseModel, SecretStr


class Agents(Definitions):
    """The part of `DagFlow` that takes definitions, those for language models among them."""

    @shown_with("name", of=FunctionAction)
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
        as names of actions (that there have to be when a run starts), as functions (plain ones are
        registered), or as `flow.tools.schemas()` has them; `flow.tools`: all that there are when it is
        asked. A planner of it runs these and no other action, without `tools=` none.

        Inputs: `prompt` (a text), or `messages` (a conversation, such as the output `messages` of an earlier
        node), or both; `history` (steps that a planner has run). Outputs: `text`; `messages`, the whole
        conversation with the answer; `tool_calls`, which are asked for and never run here; `result`, the
        instance of `output` (else None). The text is streamed into the live view, its tokens count as usage.
        Outside of a workflow `await ask("Hello?")` gives the outputs as a dict.

        A node tries again, as often as its `try_count` says, where the endpoint cannot be reached, is busy
        (429), fails (5xx) or breaks off (its stream ends without `finish_reason` and `[DONE]`), and where an
        answer is no `output`; not where the request is refused, or a content filter held the answer back. A
        text that reached the most tokens allowed is an answer, with a warning in the log. A timeout or
        cancellation of the attempt ends the request. A wrong argument is a `ValidationError`.

        >>> from dagflow_nb import DagFlow
        >>> with DagFlow(":memory:") as flow:
        ...     flow.llm("ask", "llama3.2", base_url="http://localhost:11434/v1", system="Be brief.")
        <action ask(...)>
        """
        from .client import RETRY_ON
        from .llm import LanguageModel  # pydantic's models of messages come in only here

        given = () if tools is None else (tools,) if isinstance(tools, str | Mapping) else tools
        if not isinstance(given, Iterable):
            raise ValidationError(
                f"tools are names of actions, functions, or flow.tools, not {shorten(tools)}",
                culprit="tools",
                value=tools,
            )
        session = self._session
        made = LanguageModel(
            name,
            model,
            base_url=base_url,
            api_key=api_key,
            system=system,
            output=output,
            # the flow's tools are all that there are when the model is asked
            tools=given if isinstance(given, Tools) else tuple(map(self._tool_name, given)),
            find=lambda tool: session.registry.need(tool),
        )
        return self._define({"retry_on": RETRY_ON}, made)

    def _tool_name(self, tool: Any) -> str:
        """The name of a tool; a plain function is registered, in place of an earlier one of that name."""
        if isinstance(tool, str):
            return tool
        if isinstance(tool, Mapping):  # a schema, in the form of OpenAI or that of the others
            about = tool.get("function", tool)
            name = about.get("name") if isinstance(about, Mapping) else None
            if not isinstance(name, str):
                raise ValidationError(
                    f"a tool's schema says its name, unlike {shorten(tool)}", culprit="tools", value=tool
                )
            return name
        made = as_action(tool)
        known = self._session.registry.get(made.name)
        is_plain = not isinstance(tool, Action | NodeAction | type)
        if known is None or (is_plain and getattr(known, "fn", None) is not tool):
            self._define({}, tool, make=make_tool)
        return made.name

    def planner(
        self, action: Any, *, until: Callable[[Mapping[str, Any]], Any] | None = None, gate: bool = False
    ) -> EventHook:
        """Make a planner of an action: what it returns is added to the run, then it is asked again.

        `action`: its name, function, or what `@flow.action` returned. It returns the next steps: a `Plan`,
        the plan's JSON (as text, or as a dict with `steps`), tool calls in the form of OpenAI, Anthropic or
        MCP (as a list, or under `tool_calls` or `content`, as `flow.llm` gives them), or a list of
        `NodeSpec`s. A function of yours may name any action that is registered, a `flow.llm` only the tools
        that it is offered. The steps come after its node. Once they have ended, or as soon as one has failed,
        the action runs again as `ID_2`, `ID_3`, ..., with the same inputs and `history`, until it returns no
        step, or `until(outputs)` holds of what it gave. `run.result` is then what it returned last, also
        where steps failed or went on beside.

        What the workflow has after the planner's node waits for its last round and gets what that returned;
        so do a sub-workflow's result and an item of a map. The node itself keeps its first plan
        (`run.outputs[ID]`), and a planner whose step this one is is told of that.

        `history` is a list of dicts, one for each step of all rounds, in order: `id`, `action`, `inputs`
        (with references as `{"ref": "step.key"}`), `status`, and `outputs`, or `error` where it did not end
        well; `over` for a map; for a tool call `tool_call_id`, `asked_by` (the planner's node that asked for
        it) and `text` (what a model wrote beside its calls). It is passed to a parameter of that name,
        which needs a default (`history=()`) for the first time, and is in `ctx.inputs`. A plan that is wrong
        is told in `history` (`status` is `"refused"`, `error` says all that is wrong); after three in a row
        the fourth fails the run. A round is two links of the chain that `max_iterations` counts. The error of
        a tool call that fails is its answer: the others are waited for, its node is `recovered`, and the
        model hears of it. Another step that failed has failed: a run in which one did ends as `failed`,
        unless a failure handler, or a later step with `replaces`, mended it.

        With `gate=True` each plan waits for a person: the run pauses, with `run.proposal`, until
        `run.approve()`, `run.approve(plan=edited)` or `run.reject()`, or the buttons in the live view.

        Returns the hook. Another planner for the same action replaces it. It is not stored: in another
        process it is made again, as actions are defined again, before `flow.resume` or `run.approve`.

        >>> from dagflow_nb import DagFlow, Plan, Workflow
        >>> flow = DagFlow(":memory:", echo=False)
        >>> @flow.action
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> @flow.action
        ... def plan(goal: int, history=()):
        ...     n = history[-1]["outputs"]["result"] if history else 1
        ...     return {"reached": n} if n >= goal else {"steps": [{"action": "double", "inputs": {"n": n}}]}
        >>> _ = flow.planner(plan)
        >>> wf = Workflow("agent", inputs=["goal"])
        >>> _ = wf.add(plan, goal=wf.input("goal"))
        >>> flow.run(wf, goal=5, view=False).result
        {'reached': 8}
        >>> flow.close()
        """
        session = self._session
        name = _planner_action(session, action)
        if until is not None and not callable(until):
            raise ValidationError(
                f"until= takes a function of the planner's outputs, not {shorten(until)}",
                culprit="until",
                value=until,
            )
        if not isinstance(gate, bool):
            raise ValidationError(f"gate is True or False, not {shorten(gate)}", culprit="gate", value=gate)
        session.registry.register(planner_gave_up)
        made = Planner(name, lambda: session.registry, until, gate)
        for hook in session.hooks:
            if isinstance(hook.target, Planner) and hook.target.action == name:
                session.hooks.discard(hook)
        session.hooks.add(make_hook(made, kinds=KINDS))
        return made

    def _need_planners(self, scheduler: Any, inputs: Iterable[Any], anew: Iterable[Node] = ()) -> None:
        """`InvalidState` where a run that is taken up with these inputs needs a planner that there is not."""
        again = [reached(scheduler, given) for given in inputs if isinstance(given, RetryNodes)]
        names = (hook.name for hook in self._session.hooks)
        need_planners(scheduler, names, [*anew, *chain.from_iterable(again)])


def _planner_action(session: Session, action: Any) -> str:
    """The name of a planner's action, which is registered if it was not."""
    if isinstance(action, Workflow):
        raise ValidationError(
            f"a planner is an action, and {action.name!r} is a workflow: give the action that says what is "
            f"to be done next",
            culprit=action.name,
        )
    if isinstance(action, str):
        session.registry.need(action)
        name = action
    else:
        made = as_action(action)
        name = made.name
        if name not in session.registry:
            session.registry.register(made)
    return name
