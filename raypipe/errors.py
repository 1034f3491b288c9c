"""The one exception that stands for the user's mistake."""

import re

USER = re.compile(r"(\w://)(?:[^\s/@]*|[^\s/:@]*:[^\s]*)@")
"""User name and password of a URI, the password with slashes in it too."""

OPTION = re.compile(r"([?&][\w.-]+=)[^\s&#'\"]*")
"""The value of a URI's option."""

VALUE = re.compile(r"((?:secret|token|passw|pwd|credential|access_key)[\w-]*=)[^&\s]+", re.I)
"""What an override gives to a key that no log should show."""

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
    """The text with stars for passwords: of URIs, with their users and options, and of secret keys.

    >>> without_secrets("got s3://me:a/b@bucket/key and gs://b/k?token=1&scheme=http")
    'got s3://***@bucket/key and gs://b/k?token=***&scheme=***'
    """
    text = VALUE.sub(r"\1***", USER.sub(r"\1***@", text))
    return WITH_OPTIONS.sub(lambda uri: OPTION.sub(r"\1***", uri[0]), text)
