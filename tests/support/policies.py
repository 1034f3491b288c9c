"""What an AWS policy allows: the part of IAM's rules that the cluster's policies use.

Statements that allow, `*` in actions and resources, and the conditions StringEquals, ArnEquals and
ForAllValues:StringNotEquals. A key that a request does not have fulfils no condition, but for
ForAllValues, which holds for no values. Source: the IAM User Guide, "Policy evaluation logic" and
"Condition operators".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any


@dataclass(frozen=True)
class Request:
    """One of the questions that a call raises: an action on a resource."""

    action: str
    resource: str
    context: Mapping[str, str | list[str]] = field(default_factory=dict)


def allows(policy: Mapping[str, Any], request: Request) -> bool:
    """Whether a statement allows the request."""
    return any(_matches(statement, request) for statement in policy["Statement"])


def listed(value: Any) -> list[Any]:
    """One or many, as many."""
    return value if isinstance(value, list) else [value]


def _matches(statement: Mapping[str, Any], request: Request) -> bool:
    assert statement["Effect"] == "Allow"
    return (
        any(fnmatchcase(request.action, action) for action in listed(statement["Action"]))
        and any(fnmatchcase(request.resource, arn) for arn in listed(statement["Resource"]))
        and all(
            _holds(operator, listed(wanted), request.context.get(key))
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    )


def _holds(operator: str, wanted: list[str], given: str | list[str] | None) -> bool:
    if operator in ("StringEquals", "ArnEquals"):
        return given in wanted
    assert operator == "ForAllValues:StringNotEquals", operator
    return all(value not in wanted for value in (given if isinstance(given, list) else []))
