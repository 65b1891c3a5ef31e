"""Something that listens where a daemon does, and answers popferryctl as the test says.

    with ScriptedDaemon(ferry, "hygiene", lambda request: {"ok": True, "items": []}) as hygiene:
        ferry.ctl("badmail", "list"); hygiene.asked
"""

import json
import threading

import zmq


class ScriptedDaemon:
    """`answer` is called with each request, in a thread of its own; `asked` is all of them."""

    def __init__(self, ferry, name, answer):
        self.asked = []
        self._answer = answer
        self._stopping = threading.Event()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        ferry.run.mkdir(exist_ok=True)
        self._socket.bind(f"ipc://{ferry.run}/{name}.ctl")
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while not self._stopping.is_set():
            if not self._socket.poll(50):
                continue
            who, number, body = self._socket.recv_multipart()
            self.asked.append(json.loads(body))
            reply = json.dumps(self._answer(self.asked[-1])).encode()
            self._socket.send_multipart([who, number, reply])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stopping.set()
        self._thread.join()
        self._socket.close()
        self._context.term()
