"""What a browser may send: its size, the types and the bounds of every field, and where from."""

import asyncio
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from raypipe.studies.annotate.connections import Connection

LARGEST = 4096
"""Bytes of a request's body."""

BODY_S = 10.0
"""Seconds within which it must arrive."""

PSEUDONYM = r"^[A-Za-z0-9-]{2,24}$"

MOST_CHANGES = 1_000_000
"""Answers to one question, more than anybody gives."""


class Given(BaseModel):
    """An answer, as the page sends it."""

    model_config = ConfigDict(strict=True, extra="forbid")

    id: str = Field(min_length=1, max_length=64)
    choice: str = Field(min_length=1, max_length=1)
    version: int = Field(ge=0, le=MOST_CHANGES)
    seconds: float = Field(ge=0, allow_inf_nan=False)


class Joining(BaseModel):
    """The form of a new annotator."""

    name: str = Field(pattern=PSEUDONYM)
    consent: Literal["yes"]


async def given(request: web.Request) -> Given:
    """An answer. An error 4xx for anything else; a form of another site cannot send one."""
    if request.content_type != "application/json":
        raise web.HTTPBadRequest(text="This is not an answer.")
    try:
        return Given.model_validate_json(await _body(request))
    except ValidationError:
        raise web.HTTPBadRequest(text="This is not an answer.") from None


async def joining(request: web.Request) -> Joining:
    """A pseudonym and the consent. An error 4xx for anything else."""
    data = await _body(request)
    try:
        if request.content_type != "application/x-www-form-urlencoded":
            raise ValueError
        fields = parse_qs(data.decode(), max_num_fields=8, strict_parsing=True)
        one_each = {key: values[0].strip() for key, values in fields.items() if len(values) == 1}
        return Joining.model_validate(one_each)
    except ValueError:  # of parsing, of UTF-8, or pydantic's
        raise web.HTTPBadRequest(
            text="Agree, and choose 2 to 24 letters, digits or hyphens as a pseudonym."
        ) from None


async def _body(request: web.Request) -> bytes:
    """At most LARGEST bytes, within BODY_S."""
    try:
        async with asyncio.timeout(BODY_S):
            data = await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="The request did not arrive.") from None
    except (web.RequestPayloadError, ConnectionError, EOFError):
        raise web.HTTPBadRequest(text="The request did not arrive.") from None
    connection = request.protocol
    assert isinstance(connection, Connection)
    connection.arrived()
    return data


def is_from_here(request: web.Request, wanted: str | None) -> bool:
    """Whether a page of this study has sent a request, as far as a browser says where from.

    wanted: the study's own origin; None: the host that the request names. A program other than a
    browser says nothing, and has no cookies to be misused.
    """
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        return False
    origin = request.headers.get("Origin")
    if origin is None:
        return True
    if wanted is not None:
        return origin == wanted
    try:
        return urlsplit(origin).netloc == request.headers.get("Host", "").lower() != ""
    except ValueError:
        return False
