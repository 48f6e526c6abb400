"""How long to wait before the next attempt.

Rules kept here: pure functions of the attempt's number; randomness arrives as an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from numbers import Real
from typing import Any

from ..errors import ValidationError, shorten


def _number(name: str, value: Any, least: float = 0.0) -> float:
    good = isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)
    if not good or value < least:
        raise ValidationError(
            f"{name} of a retry strategy is a number of at least {least:g}, not {shorten(value)}",
            culprit=name,
            value=value,
        )
    return value if isinstance(value, int | float) else float(value)


@dataclass(frozen=True, slots=True)
class RetryStrategy:
    """The delay before each further attempt, in seconds: `initial_delay * multiplier ** (n - 1)` after
    attempt `n`, at most `max_delay`; `jitter` spreads it by up to that share either way (0: not at all).

    With `RetryStrategy.exponential(initial_delay=2, max_delay=60, multiplier=2)` the delays are 2, 4,
    8, 16, 32, 60, 60, ...; with `jitter=0.1` the first one lies between 1.8 and 2.2.

    >>> [RetryStrategy.exponential().delay(n) for n in range(1, 8)]
    [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    >>> RetryStrategy.linear(delay=5).delay(3)
    5.0
    """

    kind: str = "exponential"
    initial_delay: float = 2.0
    max_delay: float = 60.0
    multiplier: float = 2.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("exponential", "linear", "immediate"):
            raise ValidationError(
                f"a retry strategy is 'exponential', 'linear' or 'immediate', not {shorten(self.kind)}",
                culprit="kind",
                value=self.kind,
            )
        for name in ("initial_delay", "max_delay", "multiplier", "jitter"):
            least = 1.0 if name == "multiplier" else 0.0
            object.__setattr__(self, name, _number(name, getattr(self, name), least))
        if self.jitter > 1:
            raise ValidationError(
                f"jitter of a retry strategy is a share from 0 to 1, not {self.jitter}", culprit="jitter"
            )

    @classmethod
    def exponential(
        cls,
        initial_delay: float = 2.0,
        max_delay: float = 60.0,
        multiplier: float = 2.0,
        jitter: float = 0.0,
    ) -> RetryStrategy:
        """Each delay is `multiplier` times the one before, up to `max_delay`."""
        return cls("exponential", initial_delay, max_delay, multiplier, jitter)

    @classmethod
    def linear(cls, delay: float = 5.0, jitter: float = 0.0) -> RetryStrategy:
        """The same delay before every attempt."""
        return cls("linear", delay, delay, 1.0, jitter)

    @classmethod
    def immediate(cls) -> RetryStrategy:
        """No delay."""
        return cls("immediate", 0.0, 0.0, 1.0, 0.0)

    def delay(self, attempt: int, jitter: float = 0.5) -> float:
        """Seconds to wait after attempt `attempt` (1 = the first); `jitter` is a random number in [0, 1)."""
        # float ** overflows past 2 ** 1023; the exponent is capped where max_delay rules anyway
        base = min(float(self.max_delay), self.initial_delay * self.multiplier ** min(attempt - 1, 64))
        return base * (1 + self.jitter * (2 * jitter - 1))
