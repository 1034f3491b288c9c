"""Which paths and URIs are taken, and which names of files inside a folder."""

import re
from urllib.parse import unquote

SCHEMES = ("s3", "gs", "file")
"""What is read and written; every other scheme is refused, also those that pyarrow knows."""

MEANT = {"gcs": "gs", "s3a": "s3", "s3n": "s3"}
"""Other names of these, to be suggested."""

LIKE_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(/.*)", re.DOTALL)
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
LONGEST = 200
"""Characters of a value that a message shows, and of an id."""

ID = f"[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST - 1}}}"
"""What an id looks like that becomes part of a file's name, as a regular expression."""

ARTICLE = {"s3": "an", "gs": "a"}
ENVIRONMENT = {
    "s3": "AWS_ENDPOINT_URL, AWS_REGION, AWS_PROFILE, ...",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
}


def check_address(text: str) -> None:
    """ValueError, with the rule and the value, unless it is a path or a URI that is taken.

    Taken are s3://BUCKET/KEY and gs://BUCKET/KEY without user, options or fragment, file:///PATH,
    and paths. What is taken from a table of others, such as a data set, gets stricter checks.

    >>> check_address("runs/a"), check_address("gs://bucket/runs/a%20b/")
    (None, None)
    """
    shown = text[:LONGEST]
    if CONTROL.search(text):
        raise ValueError(f"a path must not hold control characters, got {shown!a}")
    found = LIKE_URI.match(text)
    if found is None:
        return
    scheme, rest = found.groups()
    if scheme not in SCHEMES or not rest.startswith("//"):
        meant = MEANT.get(scheme.lower(), scheme.lower())
        near = f"; did you mean {meant}://{rest.lstrip('/')}"[:LONGEST] + "?"
        raise ValueError(
            f"a path or an s3:// or gs:// URI was expected, got {shown}"
            f"{near if meant in SCHEMES else ''}"
        )
    authority, slash, path = rest[2:].partition("/")
    decoded = unquote(path)
    if CONTROL.search(decoded):
        raise ValueError(f"a path must not hold control characters, got {shown!a}")
    if scheme == "file":
        if authority or not slash or set("?#") & set(rest):
            raise ValueError(f"a file:// URI must be file:///PATH on this machine, got {shown}")
        return
    if set("?#") & set(rest) or not BUCKET.fullmatch(authority):
        raise ValueError(
            f"{ARTICLE[scheme]} {scheme}:// URI must be {scheme}://BUCKET/KEY, its options and "
            f"credentials in the environment ({ENVIRONMENT[scheme]}), got {shown}"
        )
    if {"", ".", ".."} & set(decoded.removesuffix("/").split("/")) and decoded:
        raise ValueError(f"the parts of a key must not be empty, . or .., got {shown}")


def is_uri(text: str) -> bool:
    """Whether it is a URI rather than a path (of what `check_address` takes)."""
    return LIKE_URI.match(text) is not None


def is_below(uri: str, root: str) -> bool:
    """Whether a path or URI is `root`, absolute, or below it, without any `..`.

    >>> is_below("/a/b.tar", "/a"), is_below("/a/../b", "/a"), is_below("s3://b/k", "s3://b/other")
    (True, False, False)
    """
    path, base = (unquote(text) if is_uri(text) else text for text in (uri, root.rstrip("/")))
    return (path == base or path.startswith(f"{base}/")) and ".." not in path.split("/")


def check_name(name: str) -> None:
    """ValueError unless it names a file inside a folder, at any depth, on every file system.

    >>> check_name("images/0000-00000001.parquet")
    """
    parts = name.split("/")
    if {"", ".", ".."} & set(parts) or "\\" in name or CONTROL.search(name):
        raise ValueError(
            "a file of a folder must have a relative name without .., empty parts, backslashes or "
            f"control characters, got {name[:LONGEST]!a}"
        )
