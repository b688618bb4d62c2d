"""Files in and out of a bucket with Google's own client.

usage: google_client.py ENDPOINT put|get BUCKET FOLDER
`put` makes the bucket and uploads every file of FOLDER under its name there; `get` downloads every object into FOLDER.
"""
import pathlib
import sys

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

endpoint, verb, name, folder = sys.argv[1:]
folder = pathlib.Path(folder)
client = storage.Client("test", AnonymousCredentials(), client_options={"api_endpoint": endpoint})
if verb == "put":
    bucket = client.create_bucket(name)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        bucket.blob(path.relative_to(folder).as_posix()).upload_from_filename(path)
else:
    for blob in client.list_blobs(name):
        path = folder / blob.name
        path.parent.mkdir(parents=True, exist_ok=True)
        blob.download_to_filename(path)
