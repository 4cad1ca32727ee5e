# SPDX-License-Identifier: Apache-2.0
"""Is every file-changing call in the table? Compares what strace saw of a run with the trace of the same run.

Every call that strace shows is sorted into one of three kinds: it changes no file (HARMLESS), it may change one
(below: by name, and for some by their arguments), or it is not known here, which fails as well, so that a new
call is never overlooked. A changing call on a path below the site must be in the trace, under the name that
CALLS gives it, with the same last component of its path, at least as often.

What is not in the trace on purpose: EXCEPTIONS. The same look at a run tells whether files and names were
synced in the right order.
"""

import os
import re
from collections import Counter

# strace's name: names in the table that may stand for it.
CALLS = {
    "open": ["open"],
    "openat": ["open"],
    "openat2": ["open"],
    "creat": ["open"],
    "mkdir": ["mkdir"],
    "mkdirat": ["mkdir"],
    "unlink": ["unlink", "unlinkat", "rename_noreplace"],
    "unlinkat": ["unlinkat", "unlink"],
    "rmdir": ["rmdir"],
    "rename": ["rename"],
    "renameat": ["rename"],
    "renameat2": ["rename_noreplace", "rename"],
    "link": ["link", "rename_noreplace"],
    "linkat": ["link"],
    "symlink": [],
    "symlinkat": [],
    "mknod": [],
    "mknodat": [],
    "truncate": [],
    "ftruncate": ["ftruncate"],
    "fallocate": ["fallocate"],
    "write": ["write"],
    "writev": [],
    "pwrite64": ["pwrite"],
    "pwritev": [],
    "pwritev2": [],
    "fsync": ["fsync", "sqlite_sync"],
    "fdatasync": ["fdatasync", "sqlite_sync"],
    "sync_file_range": ["sync_file_range"],
    "syncfs": [],
    "chmod": [],
    "fchmod": ["fchmod"],
    "fchmodat": [],
    "chown": ["chown"],
    "lchown": [],
    "fchown": ["fchown"],
    "fchownat": ["chown"],
    "utime": [],
    "utimes": [],
    "utimensat": ["futimens"],
    "futimesat": [],
    "setxattr": [],
    "fsetxattr": [],
    "lsetxattr": [],
    "removexattr": [],
    "fremovexattr": [],
    "copy_file_range": [],
    "sendfile": [],
    "splice": [],
    "tee": [],
    "vmsplice": [],
    "mmap": [],
}

HARMLESS = set(
    """access faccessat faccessat2 stat lstat fstat newfstatat statx statfs fstatfs readlink readlinkat
    getcwd chdir fchdir execve execveat getxattr lgetxattr fgetxattr listxattr flistxattr llistxattr
    quotactl name_to_handle_at read readv pread64 preadv preadv2 readahead fadvise64 lseek close
    close_range dup dup2 dup3 fcntl flock ioctl getdents getdents64 poll ppoll select pselect6
    epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd eventfd2
    timerfd_create timerfd_settime timerfd_gettime signalfd signalfd4 inotify_init inotify_init1
    inotify_add_watch inotify_rm_watch pipe pipe2 socket socketpair connect bind listen accept accept4
    shutdown getsockname getpeername setsockopt getsockopt sendto recvfrom sendmsg recvmsg sendmmsg
    recvmmsg memfd_create pidfd_open pidfd_send_signal perf_event_open io_getevents""".split()
)

EXCEPTIONS = {
    # SQLite maps its shared index and writes to it; it is rebuilt from the WAL when anything is wrong with it.
    "mmap of -shm": lambda call, args, path: call == "mmap" and path.endswith("-shm"),
    # relay looks at other processes' locks through it; that needs a descriptor open for writing, and writes
    # nothing.
    "open of -shm for its locks": lambda call, args, path: call == "openat"
    and path.endswith("-shm")
    and "O_CREAT" not in args
    and "O_TRUNC" not in args,
}

LINE = re.compile(r"^(\d+) +(\w+)\((.*)$")
RESUMED = re.compile(r"^\d+ +<\.\.\. \w+ resumed")
PATH_OF_FD = re.compile(r"^-?\d+<(.*?)(?:\(deleted\))?>")
NAMES = re.compile(r'"((?:[^"\\]|\\.)*)"')


def changes(call, args):
    if call in ("open", "openat", "openat2"):
        return bool(re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_TMPFILE", args))
    if call == "mmap":
        return "PROT_WRITE" in args and "MAP_SHARED" in args
    return True


def path_of(call, args):
    """The path that the call changes: of a rename or link the new one."""
    if call in ("mmap",):
        fd = re.search(r", (-?\d+<.*?>),", args)
        return PATH_OF_FD.match(fd.group(1)).group(1) if fd else ""
    fd = PATH_OF_FD.match(args)
    if fd and not call.endswith("at"):
        return fd.group(1)
    names = NAMES.findall(args)
    if not names:
        return fd.group(1) if fd else ""
    name = names[-1] if "rename" in call or "link" in call else names[0]
    at = re.match(r"(?:AT_FDCWD|\d+)<([^>]*)>", args)
    return name if name.startswith("/") or not at else os.path.join(at.group(1), name)


def seen_by_strace(path, below):
    """Counter of (call, last component), and a list of calls that are not known."""
    seen, unknown, excepted = Counter(), set(), Counter()
    with open(path, errors="surrogateescape") as f:
        for line in f:
            m = LINE.match(line)
            if not m or RESUMED.match(line) or "= -1 E" in line:
                continue
            call, args = m.group(2), m.group(3)
            if call in HARMLESS:
                continue
            if call not in CALLS:
                unknown.add(call)
                continue
            target = path_of(call, args)
            if not changes(call, args) or not target.startswith(below):
                continue
            why = [name for name, fits in EXCEPTIONS.items() if fits(call, args, target)]
            if why:
                excepted[why[0]] += 1
            else:
                seen[call, os.path.basename(target)] += 1
    return seen, unknown, excepted


def in_trace(path):
    found = Counter()
    for call, target in read_trace(path):
        found[call, os.path.basename(target)] += 1
    return found


def read_trace(path):
    """[(call, path)] in their order; of calls on descriptors the path that it had."""
    calls = []
    try:
        with open(path, errors="surrogateescape") as f:
            for line in f:
                call, _, rest = line.rstrip("\n").partition(" ")
                fd = re.match(r"\d+ (.*)$", rest)
                calls.append((call, (fd.group(1) if fd else rest).replace(" (deleted)", "")))
    except OSError:
        pass
    return calls


def order(path, below):
    """Complaints about what a loss of power would undo: a file that got its final name before its bytes were
    synced, and names that were not synced by the end. (A process that is stopped loses neither, so the faults
    do not show it.)"""
    unsynced, names, complaints = set(), {}, []
    with open(path, errors="surrogateescape") as f:
        for line in f:
            m = LINE.match(line)
            if not m or RESUMED.match(line) or "= -1 E" in line:
                continue
            call, args = m.group(2), m.group(3)
            target = path_of(call, args) if call in CALLS else ""
            if not target.startswith(below) or os.path.basename(target).startswith("app.db"):
                continue  # SQLite knows what it does with its files
            if call in ("write", "pwrite64", "ftruncate"):
                unsynced.add(target)
            elif call in ("fsync", "fdatasync"):
                unsynced.discard(target)
                names.pop(target, None)
            elif call in ("rename", "renameat", "renameat2", "link", "linkat"):
                source = NAMES.findall(args)[0]
                if source in unsynced:
                    complaints.append("%s of %s before its bytes were synced" % (call, source[len(below) :]))
                if ".tmp" not in os.path.basename(target):
                    names[os.path.dirname(target)] = target
    complaints += ["%s: its name was not synced" % name[len(below) :] for name in names.values()]
    return complaints


def compare(strace_path, trace_path, below):
    """(lines for a person, complaints)."""
    seen, unknown, excepted = seen_by_strace(strace_path, below)
    traced = in_trace(trace_path)
    complaints = ["%s is a call that this test does not know" % call for call in sorted(unknown)]
    left = Counter(traced)
    sqlite_names = ("app.db", os.path.basename(os.path.normpath(below)))
    for (call, name), count in sorted(seen.items()):
        for at in CALLS[call]:
            # The trace has no path for it: it answers for SQLite's files and their directory.
            sqlite = at == "sqlite_sync" and name.startswith(sqlite_names)
            key = (at, "-" if sqlite else name)
            take = min(count, left[key])
            left[key] -= take
            count -= take
        if count:
            complaints.append("%s of %s: %d more than in the trace" % (call, name, count))
    if 2 * sum(seen.values()) < sum(traced.values()) or not seen:
        complaints.append("strace saw only %d of %d calls" % (sum(seen.values()), sum(traced.values())))
    complaints += order(strace_path, below)
    by_call = Counter()
    for (call, _), count in seen.items():
        by_call[call] += count
    lines = ["%s %d" % item for item in sorted(by_call.items())]
    lines += ["not in the table: %s %d" % item for item in sorted(excepted.items())]
    return lines, complaints
