"""Workflows that grow while they run, for people who think in notebooks.

    from dagflow_nb import DagFlow

    flow = DagFlow("workflows.db")

    @flow.action
    def fetch(source: str = "default"):
        return {"rows": ["a", "", "b"]}

    @flow.workflow
    def pipeline(source="default"):
        return fetch(source)

    run = flow.run("pipeline")
"""

from .actions import ActionRegistry, FunctionAction, NodeAction, NodeCtx
from .cache import (
    Cache,
    get_value_from_cache,
    insert_value,
    parse_input_from_name,
    serialize_cache_to_prettyjson,
)
from .config import DagConfig
from .core.messages import (
    AddNode,
    AddNodes,
    BranchCancelled,
    BranchPaused,
    BranchResumed,
    BudgetExceeded,
    CancelBranch,
    CommandRejected,
    CustomEvent,
    DisableNodes,
    EmitEvent,
    EnableNodes,
    ExecutionEvent,
    ExecutorCommand,
    HookFailed,
    NodeCancelled,
    NodeCompleted,
    NodeFailed,
    NodeLog,
    NodeProgress,
    NodeRetrying,
    NodesAdded,
    NodeSkipped,
    NodeStarted,
    PauseBranch,
    ResumeBranch,
    RetryNode,
    RunFinished,
    RunStarted,
    SetNodeInputs,
    SetNodeOutputs,
    TokenStreamed,
)
from .core.model import (
    HumanTimeoutAction,
    NodeOutput,
    NodeRef,
    NodeSpec,
    NodeStatus,
    OnFailure,
    RunStatus,
    ref,
)
from .core.retry import RetryStrategy
from .errors import (
    ActionNotFound,
    CycleError,
    DagError,
    DagNotFound,
    DatabaseError,
    DependencyNotFound,
    ExecutionTimeout,
    InvalidState,
    NodeAlreadyExists,
    NodeExecutionError,
    NodeNotFound,
    RunCancelled,
    SerializationError,
    ValidationError,
)
from .executor import (
    CancelToken,
    Coordinator,
    DagExecutor,
    DagMetadata,
    ExecutionMetrics,
    NodeState,
    register_action,
)
from .flow import DagFlow
from .hooks import CompositeHook, EventHook, HookContext, LoggingHook
from .nested import enable_nested_asyncio
from .run import ExecutionReport, Run
from .workflow.builder import Workflow
from .workflow.handles import NodeHandle

__version__ = "0.1.0"


def load_ipython_extension(ipython: object) -> None:
    """What `%load_ext dagflow_nb` calls: `%%workflow`, `%runs` and `%dag`."""
    from .notebook.magics import load_ipython_extension as load

    load(ipython)


__all__ = [
    "ActionNotFound",
    "ActionRegistry",
    "AddNode",
    "AddNodes",
    "BranchCancelled",
    "BranchPaused",
    "BranchResumed",
    "BudgetExceeded",
    "Cache",
    "CancelBranch",
    "CancelToken",
    "CommandRejected",
    "CompositeHook",
    "Coordinator",
    "CustomEvent",
    "CycleError",
    "DagConfig",
    "DagError",
    "DagExecutor",
    "DagFlow",
    "DagMetadata",
    "DagNotFound",
    "DatabaseError",
    "DependencyNotFound",
    "DisableNodes",
    "EmitEvent",
    "EnableNodes",
    "EventHook",
    "ExecutionEvent",
    "ExecutionMetrics",
    "ExecutionReport",
    "ExecutionTimeout",
    "ExecutorCommand",
    "FunctionAction",
    "HookContext",
    "HookFailed",
    "HumanTimeoutAction",
    "InvalidState",
    "LoggingHook",
    "NodeAction",
    "NodeAlreadyExists",
    "NodeCancelled",
    "NodeCompleted",
    "NodeCtx",
    "NodeExecutionError",
    "NodeFailed",
    "NodeHandle",
    "NodeLog",
    "NodeNotFound",
    "NodeOutput",
    "NodeProgress",
    "NodeRef",
    "NodeRetrying",
    "NodeSkipped",
    "NodeSpec",
    "NodeStarted",
    "NodeState",
    "NodeStatus",
    "NodesAdded",
    "OnFailure",
    "PauseBranch",
    "ResumeBranch",
    "RetryNode",
    "RetryStrategy",
    "Run",
    "RunCancelled",
    "RunFinished",
    "RunStarted",
    "RunStatus",
    "SerializationError",
    "SetNodeInputs",
    "SetNodeOutputs",
    "TokenStreamed",
    "ValidationError",
    "Workflow",
    "enable_nested_asyncio",
    "get_value_from_cache",
    "insert_value",
    "load_ipython_extension",
    "parse_input_from_name",
    "ref",
    "register_action",
    "serialize_cache_to_prettyjson",
]
