# SPDX-License-Identifier: Apache-2.0
"""A service manager, for 32-exec.t.

manager.py notify NAME LOG COMMAND…   NOTIFY_SOCKET=NAME (a path or @abstract); every message goes to LOG, its lines
                                      joined by spaces; WATCHDOG_USEC is passed on with our child's WATCHDOG_PID
manager.py socket COMMAND…            socket activation: a listening socket as descriptor 3, LISTEN_FDS, LISTEN_PID
                                      and LISTEN_FDNAMES; its port in the variable PORT. COMMAND replaces us.
manager.py terminal BYTES AFTER LOG COMMAND…
                                      COMMAND on a terminal of its own, its output to LOG; when a line there ends with AFTER,
                                      BYTES are typed (\\x03 is Ctrl-C), or with `hangup` the terminal is closed
Ends with the status of COMMAND."""
import os
import pty
import signal
import socket
import sys
import threading


def status_of(pid):
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 128 - code


def notify(name, log, *command):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind('\0' + name[1:] if name[0] == '@' else name)
    os.environ['NOTIFY_SOCKET'] = name
    pid = os.fork()
    if pid == 0:
        os.environ['WATCHDOG_PID'] = str(os.getpid())
        os.execvp(command[0], command)

    def receive():
        with open(log, 'a', encoding='utf-8') as f:
            while True:
                f.write(' '.join(s.recv(4096).decode().split('\n')).strip() + '\n')
                f.flush()

    threading.Thread(target=receive, daemon=True).start()
    rc = status_of(pid)
    s.close()
    return rc


def activate(*command):
    s = socket.create_server(('127.0.0.1', 0))
    port = s.getsockname()[1]
    fd = s.detach()
    if fd != 3:
        os.dup2(fd, 3)
        os.close(fd)
    os.set_inheritable(3, True)
    os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES='web', PORT=str(port))
    os.execvp(command[0], command)


def terminal(keys, after, log, *command):
    signal.alarm(60)
    pid, fd = pty.fork()
    if pid == 0:
        # Whoever runs the tests may ignore them (nohup, a shell in the background), and that is inherited.
        for s in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
            signal.signal(s, signal.SIG_DFL)
        os.execvp(command[0], command)
    seen = b''
    with open(log, 'ab') as f:
        while True:
            try:
                more = os.read(fd, 4096)
            except OSError:
                break
            if not more:
                break
            f.write(more)
            f.flush()
            seen += more
            # The whole line: who writes it must be done with that before the terminal goes.
            if after and (after + '\r\n').encode() in seen:
                after = None
                if keys == 'hangup':
                    os.close(fd)
                    break
                os.write(fd, keys.encode().decode('unicode_escape').encode())
    return status_of(pid)


sys.exit({'notify': notify, 'socket': activate, 'terminal': terminal}[sys.argv[1]](*sys.argv[2:]))
