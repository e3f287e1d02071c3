"""Code run in a process of its own, under limits of memory and time."""

import os
import subprocess
import sys

import pytest

# Pools of threads take address space that says nothing of what is tested.
_QUIET = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
# Arrow's own would reserve a gigabyte at once.
_QUIET |= {"ARROW_DEFAULT_MEMORY_POOL": "system"}

_LIMIT = """
import resource, sys
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {more},) * 2)
"""


def run_limited(imports, code, *arguments, more=None, seconds=60):
    """The lines that code prints, in a process that ends with 0.

    Args:
        imports: code that is run before the limit is set.
        code: code that is run under it; `sys.argv[1:]` are `arguments`.
        arguments: texts.
        more: how many bytes of address space it may have beside what it has after
            `imports`. Defaults to `None`: any.
        seconds: how long it may take. Defaults to `60`.
    """
    if more is not None and not sys.platform.startswith("linux"):
        pytest.skip("limits of memory hold on Linux alone")
    limit = "import sys" if more is None else _LIMIT.format(more=more)
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([imports, limit, code]), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=seconds,
        env={**os.environ, **_QUIET},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
