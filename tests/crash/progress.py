"""What of a long run was done: one line for each point, appended at once, so that it can be stopped at any moment."""

from __future__ import annotations

from pathlib import Path

END = "end"


class Progress:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.done: dict[str, tuple[str, bool]] = {}
        """Point -> (what was hit there, whether it failed)."""
        self.complete = False
        if path.exists():
            for line in path.read_text().splitlines():
                point, _, rest = line.partition(" ")
                if point == END:
                    self.complete = True
                else:
                    result, _, what = rest.partition(" ")
                    self.done[point] = (what, result == "failed")

    @property
    def failed(self) -> int:
        return sum(failed for _, failed in self.done.values())

    def note(self, point: str, what: str, failed: bool) -> None:
        self.done[point] = (what, failed)
        self._append(f"{point} {'failed' if failed else 'passed'} {what}")

    def end(self) -> None:
        """There are no more points."""
        self.complete = True
        self._append(END)

    def _append(self, line: str) -> None:
        with open(self._path, "a") as file:
            file.write(line + "\n")
