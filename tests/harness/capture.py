"""A relay between client and server that keeps every byte that went over the wire."""

import base64
import socket
import threading


class Recorder:
    """Listens on `port`, hands on to `target` on loopback; `wire` is all of it, both ways, and
    `sent` what the clients said."""

    def __init__(self, target):
        self.target = target
        self.wire = self.sent = b""
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=32)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            for ends in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source, sink, sent):
        try:
            while data := source.recv(65536):
                with self._lock:
                    self.wire += data
                    self.sent += data if sent else b""
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def assert_secret(self, *words):
        """None of the words was seen, as it is or in base64 at any offset."""
        for word in words:
            raw = word.encode()
            assert raw not in self.wire, f"{word!r} went over the wire in clear"
            for pad in range(3):
                text = base64.b64encode(b"\0" * pad + raw)
                core = text[-(-8 * pad // 6) : 8 * (pad + len(raw)) // 6]
                assert core not in self.wire, f"{word!r} went over the wire in base64"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
