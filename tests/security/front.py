"""A front of the schema registry: TLS and HTTP basic authentication, everything else passed on.

front.py KEY_AND_CERTIFICATE USER:PASSWORD TARGET prints its port, and serves until it is killed.
"""

import base64
import http.client
import http.server
import ssl
import sys
import urllib.parse

certificate, login, target = sys.argv[1:]
target = urllib.parse.urlsplit(target)
expected = "Basic " + base64.b64encode(login.encode()).decode()


class Front(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def serve(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.headers.get("authorization") != expected:
            return self.answer(401, b"", [("www-authenticate", "Basic")])
        behind = http.client.HTTPConnection(target.hostname, target.port, timeout=60)
        passed = ("accept", "content-type", "x-registry-")
        headers = {k: v for k, v in self.headers.items() if k.lower().startswith(passed)}
        behind.request(self.command, self.path, body or None, headers)
        answer = behind.getresponse()
        kind = answer.headers.get("content-type", "text/plain")
        return self.answer(answer.status, answer.read(), [("content-type", kind)])

    do_GET = do_PUT = do_POST = do_DELETE = serve

    def answer(self, status, body, headers):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Front)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(server.server_address[1], flush=True)
server.serve_forever()
