//! Builds the object stores that tables lie in, once per bucket, with credentials from the usual
//! environment variables or the configuration. Nothing else in the house builds one.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::TaskContext;
use datafusion::execution::object_store::ObjectStoreRegistry;
use hdfs_native_object_store::HdfsObjectStoreBuilder;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::multipart::MultipartStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use parking_lot::Mutex;
use url::Url;

use crate::config::{NamedStoreConfig, StoresConfig};
use crate::data_cache::DataCache;
use crate::fence::Fence;
use crate::local_files::LocalFiles;
use crate::request_limit::RequestLimit;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Every store this process has opened, by scheme and bucket.
#[derive(Debug)]
pub struct ObjectStores {
    config: StoresConfig,
    cache: Option<Arc<DataCache>>,
    fence: Option<Fence>,
    open: Mutex<HashMap<String, OpenStore>>,
}

/// A store, and where it takes uploads that another process completes, that side of it.
#[derive(Clone)]
struct OpenStore {
    objects: Arc<dyn ObjectStore>,
    uploads: Option<Arc<dyn MultipartStore>>,
}

impl fmt::Debug for OpenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.objects.fmt(f)
    }
}

impl OpenStore {
    fn of_objects(objects: impl ObjectStore) -> Self {
        Self { objects: Arc::new(objects), uploads: None }
    }

    fn of_uploads(store: impl ObjectStore + MultipartStore) -> Self {
        let store = Arc::new(store);
        Self { objects: Arc::clone(&store) as _, uploads: Some(store) }
    }
}

impl ObjectStores {
    /// Opens stores on demand with the credentials in `config`, those of other machines behind `cache`, and to be used
    /// within `fence` where there is one.
    pub fn new(config: StoresConfig, cache: Option<Arc<DataCache>>, fence: Option<Fence>) -> Arc<Self> {
        Arc::new(Self { config, cache, fence, open: Mutex::new(HashMap::new()) })
    }

    /// Bytes of remote objects that are kept in memory now, and bytes that are set aside of the pool for that.
    pub fn cached_bytes(&self) -> (u64, u64) {
        self.cache.as_ref().map_or((0, 0), |cache| cache.sizes())
    }

    /// The stores of the process that runs a task.
    pub fn of(context: &TaskContext) -> DataFusionResult<Arc<Self>> {
        let stores = context.session_config().get_extension::<Self>();
        stores.ok_or_else(|| DataFusionError::Internal("a session has no stores".to_owned()))
    }

    /// Uploads to the store of `url` that any process may complete. Fails for a store that has none: a disk,
    /// or a web server.
    pub fn uploads(&self, url: &Url) -> DataFusionResult<Arc<dyn MultipartStore>> {
        self.opened(url)?.uploads.ok_or_else(|| {
            DataFusionError::NotImplemented(format!(
                "locations of the kind {}:// are only read",
                url.scheme()
            ))
        })
    }

    /// True when the store of `url` gives a folder another name in one step. It then needs no uploads that another process
    /// completes, and has none.
    pub fn renames_folders(url: &Url) -> bool {
        url.scheme() == "hdfs"
    }

    fn opened(&self, url: &Url) -> DataFusionResult<OpenStore> {
        let mut open = self.open.lock();
        if let Some(store) = open.get(&key(url)) {
            return Ok(store.clone());
        }
        let mut store = self.build(url)?;
        if let Some(cache) = self.cache.as_ref().filter(|_| url.scheme() != "file") {
            store.objects = cache.over(store.objects, key(url));
        }
        if let Some(fence) = &self.fence {
            store.objects = fence.around(store.objects, &key(url));
            store.uploads = store.uploads.map(|uploads| fence.around_uploads(uploads, &key(url)));
        }
        open.insert(key(url), store.clone());
        Ok(store)
    }

    fn build(&self, url: &Url) -> DataFusionResult<OpenStore> {
        let bucket = url.host_str().unwrap_or_default();
        let needs_bucket = || {
            DataFusionError::Configuration(format!(
                "a {} location needs a bucket or container name",
                url.scheme()
            ))
        };
        Ok(match url.scheme() {
            "file" => OpenStore::of_objects(LocalFiles::new()),
            "s3" | "s3a" if !bucket.is_empty() => OpenStore::of_uploads(self.s3(bucket)?),
            "gs" | "gcs" if !bucket.is_empty() => OpenStore::of_uploads(self.gcs(bucket)?),
            "az" | "azure" | "abfs" | "abfss" if !bucket.is_empty() => {
                OpenStore::of_uploads(self.azure(url)?)
            }
            "hdfs" if !bucket.is_empty() => OpenStore::of_objects(self.hdfs(url)?),
            "http" | "https" => OpenStore::of_objects(
                HttpBuilder::new()
                    .with_url(&url[..url::Position::BeforePath])
                    .with_client_options(self.client_options().with_allow_http(true))
                    .with_retry(self.retry())
                    .with_http_connector(self.limit())
                    .build()?,
            ),
            "s3" | "s3a" | "gs" | "gcs" | "az" | "azure" | "abfs" | "abfss" | "hdfs" => {
                return Err(needs_bucket());
            }
            other => {
                return Err(DataFusionError::Configuration(format!(
                    "locations of the kind {other}:// are not supported: use a folder, s3://, gs://, az:// or hdfs://"
                )));
            }
        })
    }

    fn s3(&self, bucket: &str) -> DataFusionResult<impl ObjectStore + MultipartStore + use<>> {
        let (mut builder, config) = match self.named(bucket, |store| store.s3.as_ref()) {
            Some(config) => (AmazonS3Builder::new(), config),
            None => (AmazonS3Builder::from_env(), &self.config.s3),
        };
        builder = builder
            .with_bucket_name(bucket)
            .with_client_options(
                self.client_options().with_allow_http(config.allow_http || is_http_allowed()),
            )
            .with_retry(self.retry())
            .with_http_connector(self.limit());
        if let Some(region) = &config.region {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = &config.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(id) = &config.access_key_id {
            builder = builder.with_access_key_id(id.reveal());
        }
        if let Some(key) = &config.secret_access_key {
            builder = builder.with_secret_access_key(key.reveal());
        }
        if let Some(token) = &config.session_token {
            builder = builder.with_token(token.reveal());
        }
        Ok(builder.build()?)
    }

    fn gcs(&self, bucket: &str) -> DataFusionResult<impl ObjectStore + MultipartStore + use<>> {
        let (mut builder, config) = match self.named(bucket, |store| store.gcs.as_ref()) {
            Some(config) => (GoogleCloudStorageBuilder::new(), config),
            None => (GoogleCloudStorageBuilder::from_env(), &self.config.gcs),
        };
        builder = builder
            .with_bucket_name(bucket)
            .with_client_options(self.client_options().with_allow_http(config.allow_http))
            .with_retry(self.retry())
            .with_http_connector(self.limit());
        if let Some(endpoint) = &config.endpoint {
            builder = builder.with_base_url(endpoint);
        }
        if let Some(path) = &config.service_account_path {
            builder = builder.with_service_account_path(path);
        }
        if let Some(key) = &config.service_account_key {
            builder = builder.with_service_account_key(key.reveal());
        }
        if config.anonymous {
            builder = builder.with_skip_signature(true);
        }
        Ok(builder.build()?)
    }

    fn azure(&self, url: &Url) -> DataFusionResult<impl ObjectStore + MultipartStore + use<>> {
        // A location may name its account after its container: abfss://container@account.dfs.core.windows.net/
        let container = match url.username() {
            "" => url.host_str().unwrap_or_default(),
            container => container,
        };
        let (mut builder, config) = match self.named(container, |store| store.azure.as_ref()) {
            Some(config) => (MicrosoftAzureBuilder::new(), config),
            None => (MicrosoftAzureBuilder::from_env(), &self.config.azure),
        };
        builder = builder
            .with_url(url.as_str())
            .with_client_options(
                self.client_options().with_allow_http(config.allow_http || is_http_allowed()),
            )
            .with_retry(self.retry())
            .with_http_connector(self.limit());
        if let Some(account) = &config.account {
            builder = builder.with_account(account);
        }
        if let Some(key) = &config.access_key {
            builder = builder.with_access_key(key.reveal());
        }
        if let Some(endpoint) = &config.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        Ok(builder.build()?)
    }

    fn hdfs(&self, url: &Url) -> DataFusionResult<impl ObjectStore + use<>> {
        Ok(HdfsObjectStoreBuilder::new()
            .with_url(&url[..url::Position::BeforePath])
            .with_config(&self.config.hdfs.settings)
            .build()?)
    }

    /// The access of its own that `bucket` has, if any.
    fn named<C>(&self, bucket: &str, of_kind: impl Fn(&NamedStoreConfig) -> Option<&C>) -> Option<&C> {
        let mut stores = self.config.named.values();
        stores.find_map(|store| of_kind(store).filter(|_| store.buckets.iter().any(|name| name == bucket)))
    }

    fn client_options(&self) -> ClientOptions {
        ClientOptions::default()
            .with_timeout(self.config.request_timeout.0)
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_pool_max_idle_per_host(self.config.requests_max)
    }

    fn retry(&self) -> RetryConfig {
        let retry_timeout = self.config.retry_timeout.0;
        let usual = RetryConfig::default();
        // Time alone bounds it: ten tries are over in one second or in ten, as chance has it.
        RetryConfig {
            max_retries: usize::MAX,
            backoff: BackoffConfig {
                max_backoff: (retry_timeout / 4).min(usual.backoff.max_backoff),
                ..usual.backoff
            },
            retry_timeout,
        }
    }

    fn limit(&self) -> RequestLimit {
        RequestLimit::new(self.config.requests_max)
    }
}

/// The AWS tools' switch for endpoints without TLS, honoured as they do.
fn is_http_allowed() -> bool {
    std::env::var("AWS_ALLOW_HTTP").is_ok_and(|value| value.eq_ignore_ascii_case("true"))
}

fn key(url: &Url) -> String {
    url[url::Position::BeforeScheme..url::Position::BeforePath].to_owned()
}

impl ObjectStoreRegistry for ObjectStores {
    fn register_store(&self, url: &Url, store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        let store = OpenStore { objects: store, uploads: None };
        self.open.lock().insert(key(url), store).map(|old| old.objects)
    }

    fn get_store(&self, url: &Url) -> DataFusionResult<Arc<dyn ObjectStore>> {
        Ok(self.opened(url)?.objects)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use futures::TryStreamExt;

    use super::*;

    const LISTING: &str = "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a.parquet</Key>\
        <LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>4</Size><ETag>1</ETag></Contents></ListBucketResult>";
    const BROKEN: usize = 2;

    #[tokio::test]
    async fn a_listing_that_breaks_off_is_asked_for_again() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let store = std::thread::spawn(move || {
            for request in 0..=BROKEN {
                let (mut socket, _) = listener.accept().expect("a request");
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    socket.read_exact(&mut byte).expect("the head of a request");
                    head.push(byte[0]);
                }
                let given = if request < BROKEN { &LISTING[..50] } else { LISTING };
                let length = LISTING.len();
                write!(
                    socket,
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{given}"
                )
                .expect("it is read");
            }
        });
        let store_client = AmazonS3Builder::new()
            .with_bucket_name("b")
            .with_region("r")
            .with_endpoint(format!("http://{address}"))
            .with_allow_http(true)
            .with_skip_signature(true)
            .with_http_connector(RequestLimit::new(4))
            .build()
            .expect("a store");
        let found: Vec<_> = store_client.list(None).try_collect().await.expect("the third answer is whole");
        assert_eq!(found.len(), 1);
        store.join().expect("all three were asked for");
    }
}
