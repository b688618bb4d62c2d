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
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use futures::TryStreamExt;
    use object_store::ObjectStore;
    use object_store::aws::AmazonS3Builder;

    use super::is_listing;
    use crate::request_limit::RequestLimit;

    const LISTING: &str = "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a.parquet</Key>\
        <LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>4</Size><ETag>1</ETag></Contents></ListBucketResult>";
    const BROKEN: usize = 2;

    #[test]
    fn listings_are_told_from_objects() {
        assert!(is_listing("GET", "list-type=2&prefix=a%2F"));
        assert!(is_listing("GET", "restype=container&comp=list"));
        assert!(is_listing("PROPFIND", ""));
        assert!(!is_listing("GET", ""));
        assert!(!is_listing("PUT", "comp=list"));
        assert!(!is_listing("GET", "x-id=list-type"));
    }

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
