//! Whether something is there, without fetching it.

use reqwest::Method;
use reqwest::header::RANGE;

use super::{Failure, Fetcher, Reason, Session, words};

impl Fetcher {
    /// Whether a server has something at `url`. Servers that answer no HEAD are
    /// asked for the first byte.
    ///
    /// # Errors
    /// What the server said.
    pub async fn look(&self, session: &Session, url: &str) -> Result<(), Failure> {
        if let Some(path) = url.strip_prefix("file://") {
            let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
            let there = tokio::fs::metadata(path.as_ref()).await;
            let there =
                there.map_err(|error| Failure::new(Reason::File, format!("{url}: {error}")))?;
            return if there.is_file() {
                Ok(())
            } else {
                Err(Failure::new(Reason::File, format!("{url} is no file")))
            };
        }
        let mut last = None;
        for method in [Method::HEAD, Method::GET] {
            let mut request = session.request(method.clone(), url);
            if method == Method::GET {
                request = request.header(RANGE, "bytes=0-0");
            }
            let sent = request.send().await;
            let response = sent.map_err(|error| words::of_error(url, &error))?;
            let status = response.status();
            if status.is_success() {
                return Ok(());
            }
            last = Some(words::of_status(url, status, response.headers()));
            if !matches!(status.as_u16(), 400 | 403 | 405 | 501) {
                break;
            }
        }
        Err(last.unwrap_or_else(|| Failure::new(Reason::NotFound, url)))
    }
}
