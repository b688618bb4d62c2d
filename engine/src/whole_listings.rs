//! Listings that are read whole before they are given.
//!
//! A request is tried again within `retry_timeout` when its answer does not begin; `object_store` reads the body of a
//! listing after that, and gives up when the connection breaks then. Read here, a body that breaks is an answer that did
//! not come. Objects are not read so: they may be large, and `object_store` goes on where their body broke.

use async_trait::async_trait;
use object_store::client::{HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService};

/// A client that reads listings whole.
#[derive(Debug)]
pub struct WholeListings(pub HttpClient);

#[async_trait]
impl HttpService for WholeListings {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let is_listing = is_listing(request.method().as_str(), request.uri().query().unwrap_or_default());
        let answer = self.0.execute(request).await?;
        if !is_listing || !answer.status().is_success() {
            return Ok(answer);
        }
        let (head, body) = answer.into_parts();
        // Of a kind that is tried again, whatever broke.
        let body = body.bytes().await.map_err(|broken| HttpError::new(HttpErrorKind::Interrupted, broken))?;
        Ok(HttpResponse::from_parts(head, body.into()))
    }
}

/// S3's and Google's, Azure's, and those of web servers.
fn is_listing(method: &str, query: &str) -> bool {
    let asks = |parameter: &str| query.split('&').any(|part| part.starts_with(parameter));
    method == "PROPFIND" || (method == "GET" && (asks("list-type=") || asks("comp=list")))
}

#[cfg(test)]
mod tests {
    use super::is_listing;

    #[test]
    fn listings_are_told_from_objects() {
        assert!(is_listing("GET", "list-type=2&prefix=a%2F"));
        assert!(is_listing("GET", "restype=container&comp=list"));
        assert!(is_listing("PROPFIND", ""));
        assert!(!is_listing("GET", ""));
        assert!(!is_listing("PUT", "comp=list"));
        assert!(!is_listing("GET", "x-id=list-type"));
    }
}
