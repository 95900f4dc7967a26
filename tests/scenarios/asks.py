"""A client that prints what the server of sees.py says. usage: asks.py CA FROM NAME TO [--behind A | --times N | --bulk]

A route in passthrough sees a hello, which the server never answers; tls.example.net is terminated, and gets a session.
"""

import socket
import ssl
import sys

ca, source, name, target = sys.argv[1:5]
option, value = (sys.argv[5:] + ["", ""])[:2]


def hello():
    """The first flight of a client of TLS."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = ssl.create_default_context(cafile=ca).wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()


def connect():
    port = 444 if option == "--behind" else 443
    connection = socket.create_connection((target, port), timeout=20, source_address=(source, 0))
    if option == "--behind":
        connection.sendall(f"PROXY TCP4 {value} {target} 1234 443\r\n".encode())
    if name.startswith("tls."):
        connection = ssl.create_default_context(cafile=ca).wrap_socket(connection, server_hostname=name)
        connection.sendall(b"hello")
    else:
        connection.sendall(hello())
    return connection


def line(connection):
    received = b""
    while not received.endswith(b"\n"):
        data = connection.recv(65536)
        # An alert is what a client gets that cannot be served.
        if not data or data[0] == 21:
            return "refused"
        received += data
    return received.decode().strip()


connections = [connect() for _ in range(int(value) if option == "--times" else 1)]
for connection in connections:
    first = line(connection)
    if option != "--bulk":
        print(first)
if option == "--bulk":
    sent, received = bytes(range(256)) * 4096, b""
    connections[0].sendall(sent[: len(sent) // 2])
    while len(received) < len(sent) // 2:
        received += connections[0].recv(65536)
    connections[0].sendall(sent[len(sent) // 2 :])
    while len(received) < len(sent):
        received += connections[0].recv(65536)
    print(len(received) if received == sent else "other bytes")
