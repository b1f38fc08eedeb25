"""Run the command line in a process forked from the server of ``command_server.py``, with the streams of this one.

It stands for ``python -m quantbench`` in shell scripts: ``python -S forked_command.py SOCKET ARGUMENTS...``.
"""

import json
import os
import socket
import sys

if __name__ == "__main__":
    asked = {"arguments": sys.argv[2:], "cwd": os.getcwd(), "environment": dict(os.environ), "first": "", "script": ""}
    request = json.dumps(asked).encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(sys.argv[1])
        traces = os.open(os.devnull, os.O_RDWR)
        socket.send_fds(connection, [len(request).to_bytes(4, "big")], [0, 1, 2, traces])
        connection.sendall(request)
        _, told = connection.makefile("r")
    status = int(told.split()[0])
    sys.exit(status if status >= 0 else 128 - status)
