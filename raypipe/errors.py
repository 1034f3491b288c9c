"""The one exception that stands for the user's mistake."""

import re

USER = re.compile(r"(\w://)(?:[^\s/@]*|[^\s/:@]*:[^\s]*)@")
"""User name and password of a URI, the password with slashes in it too."""

OPTION = re.compile(r"([?&][\w.-]+=)[^\s&#'\"]*")
"""The value of a URI's option."""

WITH_OPTIONS = re.compile(r"\w://[^\s?'\"]*\?[^\s'\"]*")


class UserError(Exception):
    """A mistake the user can correct: its message states the rule, then the value.

    A job that meets one prints the message as a single line and exits with status 2, also when it
    was raised on a worker. Everything else is ours, and shows a traceback. Passwords, and values of
    options, in URIs are not shown.
    """

    def __str__(self) -> str:
        return without_secrets(super().__str__())


def without_secrets(text: str) -> str:
    """The text with stars for what a URI in it holds of users, passwords and options' values.

    >>> without_secrets("got s3://me:a/b@bucket/key and gs://b/k?token=1&scheme=http")
    'got s3://***@bucket/key and gs://b/k?token=***&scheme=***'
    """
    text = USER.sub(r"\1***@", text)
    return WITH_OPTIONS.sub(lambda uri: OPTION.sub(r"\1***", uri[0]), text)
