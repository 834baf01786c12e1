"""What a daemon had captured when its power failed, read from its index as it lies on the disk."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from everynode.index.rows import read_row
from everynode.index.schema import connect
from tests.crash.history import Tree


def written_since(home: Path, tree: Tree) -> set[bytes]:
    """Files that somebody wrote so shortly before the cut that the daemon had not looked at them yet.

    To the next daemon they are what a user wrote, torn or whole: nothing can tell.
    """
    found = set()
    with tempfile.TemporaryDirectory() as folder:
        for file in (home / "index").glob("*.db*"):
            shutil.copy(file, folder)
        for index in Path(folder).glob("*.db"):
            connection = connect(str(index))
            for path, body, flags, seal in connection.execute("SELECT path, body, flags, checksum FROM record"):
                seen = tree.get(path)
                record = read_row(path, body, flags, seal, 0, False)
                if seen and all(seen.mtime_ns > sibling.entry.mtime_ns for sibling in record.version.siblings):
                    found.add(path)
            connection.close()
    return found
