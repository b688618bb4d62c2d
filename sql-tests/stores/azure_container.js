// Makes a container. usage: node azure_container.js ENDPOINT ACCOUNT KEY CONTAINER
const { createRequire } = require("node:module");
const path = require("node:path");
const { BlobServiceClient, StorageSharedKeyCredential } = createRequire(path.join(process.cwd(), "x"))(
  "@azure/storage-blob",
);
const [endpoint, account, key, container] = process.argv.slice(2);
new BlobServiceClient(endpoint, new StorageSharedKeyCredential(account, key))
  .getContainerClient(container)
  .create()
  .catch((error) => {
    console.error(error.message);
    process.exit(1);
  });
