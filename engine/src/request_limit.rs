//! Bounds how many requests to one store wait for their answer at once.
//!
//! A request counts until the head of its answer is there. Were it counted until its body is read, a query that reads
//! several objects side by side could hold every permit and wait for one more for ever.

use std::sync::Arc;

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use tokio::sync::Semaphore;

use crate::whole_listings::WholeListings;

/// Makes HTTP clients that share one bound.
#[derive(Debug, Clone)]
pub struct RequestLimit(Arc<Semaphore>);

impl RequestLimit {
    /// At most `requests_max` requests at once.
    pub fn new(requests_max: usize) -> Self {
        Self(Arc::new(Semaphore::new(requests_max)))
    }
}

impl HttpConnector for RequestLimit {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        let limited = HttpClient::new(LimitedClient { client, permits: Arc::clone(&self.0) });
        Ok(HttpClient::new(WholeListings(limited)))
    }
}

#[derive(Debug)]
struct LimitedClient {
    client: HttpClient,
    permits: Arc<Semaphore>,
}

#[async_trait]
impl HttpService for LimitedClient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let permit = self.permits.acquire().await;
        let _permit = permit.map_err(|closed| HttpError::new(HttpErrorKind::Unknown, closed))?;
        self.client.execute(request).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Answers once all the permits are in use, and remembers how many requests were here at once.
    #[derive(Debug, Clone, Default)]
    struct Slow {
        here: Arc<AtomicUsize>,
        most: Arc<AtomicUsize>,
    }

    #[async_trait]
    impl HttpService for Slow {
        async fn call(&self, _request: HttpRequest) -> Result<HttpResponse, HttpError> {
            let here = self.here.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(here, Ordering::SeqCst);
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            self.here.fetch_sub(1, Ordering::SeqCst);
            Ok(HttpResponse::new(bytes::Bytes::new().into()))
        }
    }

    #[tokio::test]
    async fn no_more_requests_than_the_bound_wait_at_once() {
        let slow = Slow::default();
        let client =
            LimitedClient { client: HttpClient::new(slow.clone()), permits: Arc::new(Semaphore::new(3)) };
        let request = || HttpRequest::new(bytes::Bytes::new().into());
        let answers = futures::future::join_all((0..20).map(|_| client.call(request()))).await;
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(slow.most.load(Ordering::SeqCst), 3);
    }
}
