"""Fetches in a process of its own, as an actor does: `fetch_once.py REQUESTS`.

REQUESTS is a JSON list of arguments by name: `identifier`, `revision`, `files`; with `variant`, a
pipeline is fetched. Prints a JSON list with a path for each, or else the UserError's message.
Pauses between tries are short.
"""

import json
import sys

from raypipe.errors import UserError
from raypipe.weights import fetch, retry


def outcome(request: dict) -> str:
    take = fetch.fetch_pipeline if "variant" in request else fetch.fetch
    try:
        return take(**request, what="model m")
    except UserError as error:
        return str(error)


if __name__ == "__main__":
    retry.FIRST_PAUSE = 0.01
    print(json.dumps([outcome(request) for request in json.loads(sys.argv[1])]))
