"""Circuit breakers: tasks wait while a service that they need is away, without a slot and without the loss of a try.

For the code of tasks: `from airfleet_provider.breakers import breaker`.
"""

from airfleet_provider.breakers.code import breaker

__all__ = ["breaker"]
