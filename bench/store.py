"""An S3 store on this machine, SeaweedFS, alive for as long as a benchmark needs it."""

import contextlib
import http.client
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from server import free_ports

BUCKET = "lake"
ACCESS_KEY, SECRET_KEY = "benchkey", "benchsecret"
READY_TIMEOUT_SECONDS = 60
# Room for some gigabytes: a volume is a file of the store's.
VOLUME_MEGABYTES, VOLUMES = 1024, 40


@dataclass
class Store:
    s3_port: int
    filer_port: int

    def environment(self) -> dict[str, str]:
        """What a server needs to enter it."""
        return {
            "AWS_ENDPOINT": f"http://127.0.0.1:{self.s3_port}",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }

    def put(self, folder: Path, prefix: str) -> None:
        """Uploads the files of `folder` below `prefix`."""
        for path in sorted(folder.iterdir()):
            self._ask("PUT", f"{prefix}/{path.name}", path.read_bytes())

    def make_bucket(self) -> None:
        """Asks for it until the store has room for files."""
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while True:
            try:
                return self._ask("POST", "")
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _ask(self, method: str, path: str, body: bytes = b"") -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.filer_port)
        with contextlib.closing(connection):
            connection.request(method, f"/buckets/{BUCKET}/{path}", body)
            answer = connection.getresponse()
            answer.read()
            # 409: made in an earlier try.
            if answer.status not in (200, 201, 409):
                raise OSError(f"the store answered {answer.status}")


@contextlib.contextmanager
def running(data_dir: Path) -> Iterator[Store]:
    """Starts an empty store with its files in `data_dir`, and removes them in the end."""
    ports = free_ports(8)
    names = ["master", "volume", "filer", "s3"]
    flags = [f"-{name}.port={port}" for name, port in zip(names, ports)]
    flags += [f"-{name}.port.grpc={port}" for name, port in zip(names, ports[4:])]
    folder = Path(tempfile.mkdtemp(prefix="store-", dir=data_dir)).resolve()
    identity = {
        "name": "bench",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}))
    process = subprocess.Popen(
        [
            Path(sys.prefix) / "bin/weed", "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            "-filer", "-s3", f"-s3.config={config}", f"-volume.max={VOLUMES}", "-master.telemetry=false",
            f"-master.volumeSizeLimitMB={VOLUME_MEGABYTES}", "-s3.port.iceberg=0", "-s3.port.lance=0", *flags,
        ],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        store = Store(s3_port=ports[3], filer_port=ports[2])
        store.make_bucket()
        yield store
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)
