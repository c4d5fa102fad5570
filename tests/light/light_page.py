"""The light WebUI's page, and the queue by which it draws: Gradio 3.41's messages, over a websocket at /queue/join.

Only the standard library: it runs on a host without an environment worth the name.
"""

import base64
import hashlib
import json
import struct
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

JOIN = "/queue/join"
ACCEPTED_BY = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455: what a server adds to the client's key."""
TEXT, CLOSE = 1, 8

PAGE = """<!doctype html>
<html><head><meta charset="utf-8"><title>Light WebUI</title></head>
<body><h1>Light WebUI of sdfleet's tests</h1>
<p><input id="prompt" value="a cat"> <button id="generate">Generate</button> <span id="state"></span></p>
<img id="drawn" alt="">
<script>
const say = text => document.getElementById("state").textContent = text;
document.getElementById("generate").onclick = () => {
  const socket = new WebSocket(new URL("queue/join", location.href).href.replace(/^http/, "ws"));
  const answers = {
    send_hash: () => ({fn_index: 0, session_hash: "light"}),
    send_data: () => ({fn_index: 0, session_hash: "light", data: [document.getElementById("prompt").value]}),
  };
  socket.onmessage = event => {
    const message = JSON.parse(event.data);
    say(message.msg);
    if (answers[message.msg]) socket.send(JSON.stringify(answers[message.msg]()));
    if (message.output) document.getElementById("drawn").src = message.output.data[0];
  };
  socket.onerror = () => say("the queue refused");
};
</script></body></html>
"""


def join(handler: BaseHTTPRequestHandler, draw: Callable[[str], bytes]) -> None:
    """Serve one client of the queue: take its prompt, answer with the picture (PNG) that `draw` makes of it."""
    key = handler.headers.get("Sec-WebSocket-Key", "")
    accept = base64.b64encode(hashlib.sha1((key + ACCEPTED_BY).encode()).digest()).decode()
    head = ("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade")
    handler.wfile.write("\r\n".join((*head, f"Sec-WebSocket-Accept: {accept}", "", "")).encode())
    handler.close_connection = True
    say(handler, msg="send_hash")
    hear(handler)
    say(handler, msg="estimation", rank=0, queue_size=1)
    say(handler, msg="send_data")
    prompt = hear(handler)["data"][0]
    say(handler, msg="process_starts")
    shown = "data:image/png;base64," + base64.b64encode(draw(prompt)).decode()
    say(handler, msg="process_completed", output={"data": [shown]}, success=True)
    handler.wfile.write(bytes((0x80 | CLOSE, 0)))


def say(handler: BaseHTTPRequestHandler, **message: Any) -> None:
    """Send one message as one frame."""
    body = json.dumps(message).encode()
    size = len(body)
    # A client refuses a length that is written longer than it need be.
    length = bytes((size,)) if size < 126 else struct.pack(*((">BH", 126) if size < 1 << 16 else (">BQ", 127)), size)
    handler.wfile.write(bytes((0x80 | TEXT,)) + length + body)
    handler.wfile.flush()


def hear(handler: BaseHTTPRequestHandler) -> Any:
    """The next message; ConnectionError if the client goes without one."""
    head = handler.rfile.read(2)
    if len(head) < 2 or head[0] & 0x0F != TEXT:
        raise ConnectionError("the client left the queue")
    length = head[1] & 0x7F
    if length == 126:
        (length,) = struct.unpack(">H", handler.rfile.read(2))
    mask, body = handler.rfile.read(4), handler.rfile.read(length)
    return json.loads(bytes(byte ^ mask[place % 4] for place, byte in enumerate(body)))
