# What the package offers, and where it is: `__init__.py` imports each name when it is first used.

from .actions import (
    ActionRegistry as ActionRegistry,
    FunctionAction as FunctionAction,
    NodeAction as NodeAction,
    NodeCtx as NodeCtx,
)
from .agents.plan import Plan as Plan
from .api.flow import DagFlow as DagFlow
from .api.outcomes import ExecutionReport as ExecutionReport
from .api.run import Run as Run
from .cache import (
    Cache as Cache,
    get_value_from_cache as get_value_from_cache,
    insert_value as insert_value,
    parse_input_from_name as parse_input_from_name,
    serialize_cache_to_prettyjson as serialize_cache_to_prettyjson,
)
from .config import DagConfig as DagConfig
from .core.messages import (
    AddNode as AddNode,
    AddNodes as AddNodes,
    BranchCancelled as BranchCancelled,
    BranchPaused as BranchPaused,
    BranchResumed as BranchResumed,
    BudgetExceeded as BudgetExceeded,
    CancelBranch as CancelBranch,
    CommandRejected as CommandRejected,
    CustomEvent as CustomEvent,
    DisableNodes as DisableNodes,
    EmitEvent as EmitEvent,
    EnableNodes as EnableNodes,
    ExecutionEvent as ExecutionEvent,
    ExecutorCommand as ExecutorCommand,
    HookFailed as HookFailed,
    NodeCancelled as NodeCancelled,
    NodeCompleted as NodeCompleted,
    NodeFailed as NodeFailed,
    NodeLog as NodeLog,
    NodeProgress as NodeProgress,
    NodeRetrying as NodeRetrying,
    NodesAdded as NodesAdded,
    NodeSkipped as NodeSkipped,
    NodeStarted as NodeStarted,
    PauseBranch as PauseBranch,
    ResumeBranch as ResumeBranch,
    RetryNode as RetryNode,
    RunFinished as RunFinished,
    RunStarted as RunStarted,
    SetNodeInputs as SetNodeInputs,
    SetNodeOutputs as SetNodeOutputs,
    TokenStreamed as TokenStreamed,
)
from .core.model import (
    HumanTimeoutAction as HumanTimeoutAction,
    NodeOutput as NodeOutput,
    NodeRef as NodeRef,
    NodeSpec as NodeSpec,
    NodeStatus as NodeStatus,
    OnFailure as OnFailure,
    RunStatus as RunStatus,
    ref as ref,
)
from .core.retry import RetryStrategy as RetryStrategy
from .errors import (
    ActionNotFound as ActionNotFound,
    CycleError as CycleError,
    DagError as DagError,
    DagNotFound as DagNotFound,
    DatabaseError as DatabaseError,
    DependencyNotFound as DependencyNotFound,
    ExecutionTimeout as ExecutionTimeout,
    InvalidState as InvalidState,
    NodeAlreadyExists as NodeAlreadyExists,
    NodeExecutionError as NodeExecutionError,
    NodeNotFound as NodeNotFound,
    RunCancelled as RunCancelled,
    SerializationError as SerializationError,
    ValidationError as ValidationError,
)
from .executor.executor import (
    CancelToken as CancelToken,
    Coordinator as Coordinator,
    DagExecutor as DagExecutor,
    DagMetadata as DagMetadata,
    ExecutionMetrics as ExecutionMetrics,
    NodeState as NodeState,
    register_action as register_action,
)
from .hooks import (
    CompositeHook as CompositeHook,
    EventHook as EventHook,
    HookContext as HookContext,
    LoggingHook as LoggingHook,
)
from .nested import enable_nested_asyncio as enable_nested_asyncio
from .workflow.builder import Workflow as Workflow
from .workflow.handles import NodeHandle as NodeHandle

__version__: str

def load_ipython_extension(ipython: object) -> None: ...
