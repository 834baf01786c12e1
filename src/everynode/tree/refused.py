"""Why a step of staging or placing was not taken, on its way to becoming the path's NotPut."""

from __future__ import annotations

import errno

from everynode.model.path import RelPath, show_path
from everynode.model.problem import Trouble
from everynode.tree.outcome import NotPut, Refusal


class Refused(Exception):
    """Raised within this floor only; `place` and `stage` turn it into a NotPut."""

    def __init__(self, refusal: Refusal, trouble: Trouble, detail: str) -> None:
        super().__init__(detail)
        self.refusal = refusal
        self.trouble = trouble
        self.detail = detail

    def for_path(self, path: RelPath) -> NotPut:
        return NotPut(path, self.refusal, self.trouble, f"{show_path(path)}: {self.detail}")


class Vanished(Refused):
    """Nothing stands where something was expected."""

    def __init__(self) -> None:
        super().__init__(Refusal.CHANGED, Trouble.PLACING, "it is gone here; look at it first")


def changed(what: str) -> Refused:
    return Refused(Refusal.CHANGED, Trouble.PLACING, f"{what}; look at it first")


def not_put(path: RelPath, error: OSError) -> NotPut:
    """An error of the kernel as an outcome."""
    shown = show_path(path)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        detail = f"{shown}: {error.strerror}; free some space, it is tried again"
        return NotPut(path, Refusal.ERROR, Trouble.NO_SPACE, detail)
    if error.errno in (errno.ENAMETOOLONG, errno.EILSEQ):
        detail = f"{shown}: this filesystem cannot have that name ({error.strerror}); rename it where it was made"
        return NotPut(path, Refusal.ERROR, Trouble.NAME, detail)
    if error.errno == errno.EXDEV:
        detail = f"{shown} is on another filesystem than the root; unmount it there, exclude it, or give it a group"
        return NotPut(path, Refusal.ERROR, Trouble.PLACING, detail)
    detail = f"{shown} cannot be placed: {error.strerror or error}; "
    if error.errno in (errno.EACCES, errno.EPERM):
        detail += (
            "give everynode the right to write there, or run it as root: another user can place no read-only "
            "directories, and nothing into them"
        )
    else:
        detail += "it is tried again; the kernel's log (dmesg) may say more"
    return NotPut(path, Refusal.ERROR, Trouble.PLACING, detail)
