"""The kernel's locks: a process that dies gives them back."""

from __future__ import annotations

import errno

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Of a file system, or a kernel, that has none.
_NONE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)


def try_lock(descriptor: int) -> bool | None:
    """Lock an open file for this opening of it, without waiting.

    The lock goes when the file is closed, by the process or by its end.

    Args:
        descriptor: of the file, open for writing: NFS asks for that.

    Returns:
        `True` if it is locked now; `False` if another opening of it, here or in another
        process, has the lock; `None` where there are no locks.

    Raises:
        OSError: for what else goes wrong.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno == errno.EACCES:  # what some file systems say instead
            return False
        if error.errno in _NONE:
            return None
        raise
    return True
