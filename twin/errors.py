"""The one error class of the project: something that the user can mend."""

__all__ = ["UserError"]


class UserError(Exception):
    """A user's error: one line that says what is wrong, where, and what to do.

    Every command turns it into that line on standard error and exit status 2.
    """

    def __init__(self, what: str, where: object, remedy: str) -> None:
        self.what = what
        self.where = str(where)
        self.remedy = remedy
        super().__init__(f"{self.where}: {what}; {remedy}".replace("\n", " "))

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str, str]]:
        return type(self), (
            self.what,
            self.where,
            self.remedy,
        )  # so that it survives the way back from a worker process
