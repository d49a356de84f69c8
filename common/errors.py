"""The errors a user sees as one clear sentence instead of a traceback."""


class UserError(Exception):
    """Something the user can mend; its text is one sentence that names the thing and the remedy."""

    exit_code = 1


class SettingError(UserError):
    """An impossible setting, found before anything is loaded."""

    exit_code = 2


class LostLoss(UserError):
    """Training ended because its loss became NaN or infinite."""


def require(condition: bool, message: str) -> None:
    """Raise SettingError(message) unless the condition holds."""
    if not condition:
        raise SettingError(message)
