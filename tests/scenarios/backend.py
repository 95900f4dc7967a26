"""An HTTP backend that numbers the connections it accepts and can send an answer piece by piece, on command.

    backend.py NAME PORT [--cert FILE --key FILE]

    GET /         NAME and the number of this connection
    GET /whole    all pieces at once
    GET /paced    the same bytes, each piece once it has been released
    GET /release  releases one more piece
    POST /digest  the SHA-256 of what was sent
"""

import argparse
import hashlib
import http.server
import ssl
import threading

PIECES = [bytes([ord("a") + n]) * 65536 for n in range(8)]


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 512
    context = None
    accepted = 0

    def finish_request(self, request, client_address):
        if self.context:
            request = self.context.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def process_request(self, request, client_address):
        # One thread accepts, so the numbers are in the order of arrival.
        self.accepted += 1
        self.numbers[client_address] = self.accepted
        super().process_request(request, client_address)

    def handle_error(self, request, client_address):
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/paced":
            self.answer(PIECES, wait=True)
        elif self.path == "/whole":
            self.answer(PIECES)
        else:
            if self.path == "/release":
                self.server.released.release()
            number = self.server.numbers[self.client_address]
            self.answer([f"{self.server.name} {number}\n".encode()])

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer([hashlib.sha256(body).hexdigest().encode()])

    def answer(self, pieces, wait=False):
        self.send_response(200)
        self.send_header("Content-Length", str(sum(map(len, pieces))))
        self.end_headers()
        for piece in pieces:
            if wait and not self.server.released.acquire(timeout=120):
                raise TimeoutError("no piece was released")
            self.wfile.write(piece)

    def log_message(self, *_):
        pass


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("name")
    arguments.add_argument("port", type=int)
    arguments.add_argument("--cert")
    arguments.add_argument("--key")
    options = arguments.parse_args()

    server = Server(("127.0.0.1", options.port), Handler)
    server.name = options.name
    server.numbers = {}
    server.released = threading.Semaphore(0)
    if options.cert:
        server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.context.load_cert_chain(options.cert, options.key)
    server.serve_forever()


main()
