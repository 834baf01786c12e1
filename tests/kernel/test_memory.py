"""What lies free in the heap, between what is used, goes back to the kernel when it is asked to."""

import subprocess
import sys

import pytest

PROGRAM = """
import os
from everynode.kernel.memory import give_back_freed_memory, keep_freed_memory, resident_bytes
keep_freed_memory()
before = resident_bytes()
contents = [os.urandom(3000) for _ in range(20_000)]
kept = contents[::50]
del contents
holes = resident_bytes() - before
give_back_freed_memory()
print(holes, resident_bytes() - before)
"""


@pytest.mark.kernel
def test_holes_in_the_heap_are_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    holes, left = map(int, done.stdout.split())
    assert holes > 40_000_000, "the test is to make holes"
    assert left < holes / 4
