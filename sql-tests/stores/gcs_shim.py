"""Google Cloud Storage's XML API in front of an S3 store that anyone may enter: only headers differ.

usage: gcs_shim.py PORT S3_PORT
"""
import http.client
import http.server
import sys

PORT, S3_PORT = int(sys.argv[1]), int(sys.argv[2])
OF_THE_CONNECTION = {"host", "connection", "authorization", "transfer-encoding"}
OF_THE_ANSWER = {"transfer-encoding", "connection", "content-length", "date", "server"}


class Shim(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {}
        for name, value in self.headers.items():
            match name.lower():
                case "x-goog-copy-source":
                    headers["x-amz-copy-source"] = value
                case "x-goog-if-generation-match" if value == "0":
                    headers["if-none-match"] = "*"
                case "x-goog-if-generation-match":
                    headers["if-match"] = f'"{value}"'
                case lower if lower not in OF_THE_CONNECTION:
                    headers[name] = value
        store = http.client.HTTPConnection("127.0.0.1", S3_PORT)
        store.request(self.command, self.path, body, headers)
        answer = store.getresponse()
        data = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in OF_THE_ANSWER:
                self.send_header(name, value)
            if name.lower() == "etag":
                self.send_header("x-goog-generation", value.strip('"'))
        is_head = self.command == "HEAD"
        length = answer.getheader("content-length") if is_head else None
        self.send_header("content-length", length or str(len(data)))
        self.end_headers()
        if not is_head:
            self.wfile.write(data)
        store.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


Server(("127.0.0.1", PORT), Shim).serve_forever()
