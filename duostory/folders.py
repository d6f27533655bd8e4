"""The user's folders, by the XDG Base Directory specification."""

import os


def user_folder(variable: str, fallback: str, environ=os.environ) -> str | None:
    """duostory's folder in the one that `variable` names, or else in `fallback`, which is below the home folder.

    A relative path in the environment is ignored, as the specification says. None when there is no home folder.
    """
    base = environ.get(variable, "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), fallback)  # stays "~" when nobody knows a home
    return os.path.join(base, "duostory") if os.path.isabs(base) else None
