"""A server that tells each client where it is seen, and then sends back what it receives. usage: sees.py ADDRESS..."""

import socket
import sys
import threading


def serve(connection, peer):
    with connection:
        first = connection.recv(65536)
        # A PROXY header is part of the answer, and so is not the hello behind it.
        line = first.split(b"\r\n")[0].decode() if first.startswith(b"PROXY ") else ""
        connection.sendall(f"{peer} {line}\n".encode())
        while data := connection.recv(65536):
            connection.sendall(data)


def accept(listener):
    while True:
        connection, peer = listener.accept()
        threading.Thread(target=serve, args=(connection, peer[0]), daemon=True).start()


threads = []
for address in sys.argv[1:]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, 8200), family=family, backlog=512)
    threads.append(threading.Thread(target=accept, args=(listener,)))
    threads[-1].start()
print("listening", flush=True)
