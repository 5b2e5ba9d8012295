"""Constant answers to system calls: no files, no network, no processes, no randomness.

Numbers of WASI's ``errno`` are positive; Linux calls of emscripten (``__syscall_*``) answer them negative.
An image that is linked against a call gets its constant whatever it passes, so none of them can differ
between two hosts. Random numbers are refused rather than made up: a constant would look like one.

Rules
-----
* One table; what it does not name is not answered, and the image is refused when it is spawned.
* A changed constant is another device version.
"""

from __future__ import annotations

from collections.abc import Mapping

BAD_DESCRIPTOR = 8
INVALID = 28
NO_ENTRY = 44
NO_SYSTEM = 52
NOT_PERMITTED = 63
NO_SEEK = 70
NO_TERMINAL = 59

WASI: Mapping[str, int] = {
    "args_get": 0,
    "environ_get": 0,
    "fd_advise": BAD_DESCRIPTOR,
    "fd_allocate": BAD_DESCRIPTOR,
    "fd_close": 0,
    "fd_datasync": 0,
    "fd_fdstat_set_flags": BAD_DESCRIPTOR,
    "fd_fdstat_set_rights": BAD_DESCRIPTOR,
    "fd_filestat_get": BAD_DESCRIPTOR,
    "fd_filestat_set_size": BAD_DESCRIPTOR,
    "fd_filestat_set_times": BAD_DESCRIPTOR,
    "fd_pread": BAD_DESCRIPTOR,
    "fd_prestat_dir_name": BAD_DESCRIPTOR,
    "fd_prestat_get": BAD_DESCRIPTOR,
    "fd_pwrite": BAD_DESCRIPTOR,
    "fd_readdir": BAD_DESCRIPTOR,
    "fd_renumber": BAD_DESCRIPTOR,
    "fd_seek": NO_SEEK,
    "fd_sync": 0,
    "fd_tell": NO_SEEK,
    "path_create_directory": NOT_PERMITTED,
    "path_filestat_get": NO_ENTRY,
    "path_filestat_set_times": NO_ENTRY,
    "path_link": NO_ENTRY,
    "path_open": NO_ENTRY,
    "path_readlink": NO_ENTRY,
    "path_remove_directory": NO_ENTRY,
    "path_rename": NO_ENTRY,
    "path_symlink": NOT_PERMITTED,
    "path_unlink_file": NO_ENTRY,
    "poll_oneoff": NO_SYSTEM,
    "proc_raise": NO_SYSTEM,
    "random_get": NO_SYSTEM,
    "sched_yield": 0,
    "sock_accept": NO_SYSTEM,
    "sock_recv": NO_SYSTEM,
    "sock_send": NO_SYSTEM,
    "sock_shutdown": NO_SYSTEM,
}

ENV: Mapping[str, int] = {
    "__asyncjs__weavedrive_close": 0,
    "__asyncjs__weavedrive_open": 0,
    "__asyncjs__weavedrive_read": 0,
    "__syscall_dup3": -BAD_DESCRIPTOR,
    "__syscall_fcntl64": 0,
    "__syscall_fstat64": -BAD_DESCRIPTOR,
    "__syscall_getcwd": -NO_SYSTEM,
    "__syscall_getdents64": -BAD_DESCRIPTOR,
    "__syscall_ioctl": -NO_TERMINAL,
    "__syscall_lstat64": -NO_ENTRY,
    "__syscall_mkdirat": -NOT_PERMITTED,
    "__syscall_newfstatat": -NO_ENTRY,
    "__syscall_openat": -NO_ENTRY,
    "__syscall_readlinkat": -NO_ENTRY,
    "__syscall_renameat": -NO_ENTRY,
    "__syscall_rmdir": -NO_ENTRY,
    "__syscall_stat64": -NO_ENTRY,
    "__syscall_unlinkat": -NO_ENTRY,
    "_emscripten_get_now_is_monotonic": 1,
    "_emscripten_system": 0,
    "emscripten_notify_memory_growth": 0,
    "getentropy": -1,
    "weavedrive_close": 0,
    "weavedrive_open": 0,
    "weavedrive_read": 0,
}
