//! Asks registries (OCI distribution specification 1.1). Shell.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, RANGE, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use reqwest::{Certificate, Method, Response, StatusCode, redirect};
use serde::Deserialize;

use super::challenge::Challenge;
use super::credentials::{Credentials, Login};
use super::digest::Digest;
use super::failure::OciFailure;
use super::manifest::{self, Document, Manifest, Platform};
use super::reference::Reference;
use crate::clock;

/// The largest manifest; registries themselves take no larger ones.
pub const MAX_MANIFEST: usize = 4 << 20;
/// The largest answer of a token server.
const MAX_TOKEN: usize = 1 << 20;
/// Redirects that are followed: to a store of blobs, and within it.
const MAX_REDIRECTS: usize = 8;
/// The longest wait that a registry may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// How registries are asked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Certificates of authorities beside those of the system, PEM.
    pub ca: Option<Vec<u8>>,
    /// Registries (`host` or `host:port`) that are asked without TLS. Their
    /// passwords and bytes go over the wire for all to see and change; digests
    /// still hold.
    pub plain_http: BTreeSet<String>,
    /// Who we are.
    pub credentials: Credentials,
    /// How long a connection may take. Default 15 s.
    pub connect: Duration,
    /// How long a server may be silent. Default 60 s.
    pub silence: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ca: None,
            plain_http: BTreeSet::new(),
            credentials: Credentials::default(),
            connect: Duration::from_secs(15),
            silence: Duration::from_secs(60),
        }
    }
}

/// A client of registries. Tokens are kept for its lifetime.
pub struct Registry {
    http: reqwest::Client,
    settings: Settings,
    /// What is sent as `Authorization`, by server and repository.
    tokens: Mutex<BTreeMap<(String, String), HeaderValue>>,
}

/// An image or artifact that was found.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The digest of what the reference names: the index or the manifest.
    pub digest: Digest,
    /// The documents that lead to the blobs, the first first, with their media
    /// types: what an archive for elsewhere has to hold.
    pub documents: Vec<(Digest, String, Bytes)>,
    /// The manifest for the platform.
    pub manifest: Manifest,
}

/// The bytes of a blob, from some place on.
pub struct Blob {
    /// Where they begin: what was asked for, or 0 where the server gives only
    /// whole blobs.
    pub from: u64,
    /// The bytes of the whole blob, where the server says.
    pub total: Option<u64>,
    registry: String,
    response: Response,
}

/// One answer of a registry.
struct Asked<'a> {
    method: Method,
    kind: &'static str,
    version: String,
    accept: &'static str,
    from: u64,
    reference: &'a Reference,
}

impl Registry {
    /// A client.
    ///
    /// # Errors
    /// [`OciFailure::Certificates`].
    pub fn new(settings: Settings) -> Result<Self, OciFailure> {
        let bad = |error: reqwest::Error| OciFailure::Certificates(error.to_string());
        let mut builder = reqwest::Client::builder()
            .connect_timeout(settings.connect)
            .read_timeout(settings.silence)
            .redirect(redirects(settings.plain_http.clone()))
            .user_agent(concat!("reveille/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = &settings.ca {
            let certificates = Certificate::from_pem_bundle(pem).map_err(bad)?;
            if certificates.is_empty() {
                let what = "there is none in it; it has to be PEM".to_owned();
                return Err(OciFailure::Certificates(what));
            }
            builder = builder.tls_certs_merge(certificates);
        }
        Ok(Self {
            http: builder.build().map_err(bad)?,
            settings,
            tokens: Mutex::default(),
        })
    }

    /// The document that a reference names, verified: against the digest of
    /// the reference, else against the one that the server tells.
    ///
    /// # Errors
    /// [`OciFailure`].
    pub async fn document(
        &self,
        reference: &Reference,
    ) -> Result<(Digest, String, Bytes), OciFailure> {
        let asked = Asked {
            method: Method::GET,
            kind: "manifests",
            version: reference.version(),
            accept: manifest::ACCEPT,
            from: 0,
            reference,
        };
        let response = self.ask(&asked).await?;
        let headers = response.headers().clone();
        let media_type = header(&headers, CONTENT_TYPE.as_str()).unwrap_or_default();
        let what = reference.to_string();
        let bytes = limited(response, reference.server(), &what, MAX_MANIFEST).await?;
        let told = header(&headers, "docker-content-digest");
        let told = told.as_deref().and_then(Digest::parse);
        let expected = reference.digest().cloned().or(told);
        let algorithm = expected
            .as_ref()
            .map_or(super::digest::Algorithm::Sha256, Digest::algorithm);
        let mut hasher = super::digest::Hasher::new(algorithm);
        hasher.update(&bytes);
        let found = hasher.finish();
        match expected {
            Some(expected) if expected != found => Err(OciFailure::WrongDigest {
                what,
                expected: expected.to_string(),
                found: found.to_string(),
            }),
            Some(_) | None => Ok((found, media_type, bytes)),
        }
    }

    /// The manifest for a platform, through an index where there is one.
    ///
    /// # Errors
    /// [`OciFailure`].
    pub async fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Resolved, OciFailure> {
        let bad = |why| OciFailure::Manifest {
            what: reference.to_string(),
            why,
        };
        let (digest, media_type, bytes) = self.document(reference).await?;
        let document = Document::read(&bytes, Some(&media_type)).map_err(bad)?;
        let mut documents = vec![(digest.clone(), media_type, bytes)];
        let manifest = match document {
            Document::Image(manifest) => manifest,
            Document::Index(entries) => {
                let chosen = manifest::choose(&entries, platform).map_err(bad)?;
                let (digest, media_type, bytes) =
                    self.document(&reference.at(chosen.digest.clone())).await?;
                let document = Document::read(&bytes, Some(&media_type)).map_err(bad)?;
                documents.push((digest, media_type.clone(), bytes));
                match document {
                    Document::Image(manifest) => manifest,
                    Document::Index(_) => {
                        let inner = format!("{media_type} inside an index");
                        return Err(bad(manifest::BadManifest::Type(inner)));
                    }
                }
            }
        };
        Ok(Resolved {
            digest,
            documents,
            manifest,
        })
    }

    /// Opens a blob of the reference's repository from the byte `from` on. Who
    /// reads it verifies it against its digest.
    ///
    /// # Errors
    /// [`OciFailure`].
    pub async fn blob(
        &self,
        reference: &Reference,
        digest: &Digest,
        from: u64,
    ) -> Result<Blob, OciFailure> {
        let asked = Asked {
            method: Method::GET,
            kind: "blobs",
            version: digest.to_string(),
            accept: "*/*",
            from,
            reference,
        };
        let response = self.ask(&asked).await?;
        let (from, total) = if response.status() == StatusCode::PARTIAL_CONTENT {
            let range = header(response.headers(), CONTENT_RANGE.as_str()).unwrap_or_default();
            match range_of(&range) {
                Some((start, total)) if start == from => (start, total),
                Some(_) | None => {
                    return Err(OciFailure::Unexpected {
                        what: asked.what(),
                        found: format!("a part that was not asked for (`{range}`)"),
                    });
                }
            }
        } else {
            (0, response.content_length())
        };
        Ok(Blob {
            from,
            total,
            registry: reference.server().to_owned(),
            response,
        })
    }

    /// Whether the registry has what a reference names, without fetching it.
    ///
    /// # Errors
    /// [`OciFailure`]: also where it is not there.
    pub async fn probe(&self, reference: &Reference) -> Result<(), OciFailure> {
        let asked = Asked {
            method: Method::HEAD,
            kind: "manifests",
            version: reference.version(),
            accept: manifest::ACCEPT,
            from: 0,
            reference,
        };
        self.ask(&asked).await.map(|_| ())
    }

    /// One request; says who we are where the registry wants to know.
    async fn ask(&self, asked: &Asked<'_>) -> Result<Response, OciFailure> {
        let server = asked.reference.server();
        let key = (server.to_owned(), asked.reference.repository().to_owned());
        let known = self.token(&key);
        let response = self.send(asked, known.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return checked(asked, response, known.is_some());
        }
        // A token that was kept may have run out.
        self.keep(&key, None);
        let challenge = header(response.headers(), WWW_AUTHENTICATE.as_str());
        let challenge = challenge.as_deref().and_then(Challenge::read);
        let login = self.settings.credentials.of(asked.reference);
        let Some(token) = self.answer(asked, challenge, login).await? else {
            return Err(OciFailure::Unauthorized {
                what: asked.what(),
                known: login.is_some(),
            });
        };
        let response = self.send(asked, Some(&token)).await?;
        let response = checked(asked, response, login.is_some())?;
        self.keep(&key, Some(token));
        Ok(response)
    }

    async fn send(
        &self,
        asked: &Asked<'_>,
        token: Option<&HeaderValue>,
    ) -> Result<Response, OciFailure> {
        let reference = asked.reference;
        let server = reference.server();
        let url = format!(
            "{}://{server}/v2/{}/{}/{}",
            self.scheme(reference),
            reference.repository(),
            asked.kind,
            asked.version
        );
        let mut request = self
            .http
            .request(asked.method.clone(), url)
            .header(ACCEPT, asked.accept);
        if asked.from > 0 {
            request = request.header(RANGE, format!("bytes={}-", asked.from));
        }
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        let sent = request.send().await;
        sent.map_err(|error| OciFailure::of(server, &error))
    }

    fn scheme(&self, reference: &Reference) -> &'static str {
        if self.settings.plain_http.contains(reference.host()) {
            "http"
        } else {
            "https"
        }
    }

    /// What is to be sent as `Authorization`; `None` where we have nothing.
    async fn answer(
        &self,
        asked: &Asked<'_>,
        challenge: Option<Challenge>,
        login: Option<&Login>,
    ) -> Result<Option<HeaderValue>, OciFailure> {
        Ok(match (challenge, login) {
            (_, Some(Login::Token(token))) => bearer(token),
            (Some(Challenge::Basic) | None, Some(Login::Password { user, password })) => {
                basic(user, password)
            }
            (Some(Challenge::Basic) | None, None) => None,
            (
                Some(Challenge::Bearer {
                    realm,
                    service,
                    scope,
                }),
                login,
            ) => {
                self.fetch_token(asked, &realm, service, scope, login)
                    .await?
            }
        })
    }

    async fn fetch_token(
        &self,
        asked: &Asked<'_>,
        realm: &str,
        service: Option<String>,
        scope: Option<String>,
        login: Option<&Login>,
    ) -> Result<Option<HeaderValue>, OciFailure> {
        let unexpected = |found: String| OciFailure::Unexpected {
            what: asked.what(),
            found,
        };
        let mut url = reqwest::Url::parse(realm)
            .map_err(|error| unexpected(format!("a token is at `{realm}` ({error})")))?;
        let plain = self.scheme(asked.reference) == "http";
        if url.scheme() != "https" && !plain {
            return Err(unexpected(format!(
                "a token would go without TLS, to `{realm}`"
            )));
        }
        let repository = asked.reference.repository();
        let scope = scope.unwrap_or_else(|| format!("repository:{repository}:pull"));
        url.query_pairs_mut().append_pair("scope", &scope);
        if let Some(service) = service {
            url.query_pairs_mut().append_pair("service", &service);
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        let mut request = self.http.get(url);
        if let Some(Login::Password { user, password }) = login {
            request = request.basic_auth(user, Some(password));
        }
        let response = request.send().await;
        let response = response.map_err(|error| OciFailure::of(&host, &error))?;
        let status = response.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Ok(None);
        }
        let response = checked(asked, response, login.is_some())?;
        let bytes = limited(response, &host, &asked.what(), MAX_TOKEN).await?;
        let token: Token = serde_json::from_slice(&bytes)
            .map_err(|_| unexpected("the token server's answer is no token".to_owned()))?;
        let token = token.token.or(token.access_token);
        Ok(token.as_deref().and_then(bearer))
    }

    fn token(&self, key: &(String, String)) -> Option<HeaderValue> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(key).cloned()
    }

    fn keep(&self, key: &(String, String), token: Option<HeaderValue>) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        match token {
            Some(token) => tokens.insert(key.clone(), token),
            None => tokens.remove(key),
        };
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl Asked<'_> {
    /// What was asked for, for people.
    fn what(&self) -> String {
        if self.kind == "manifests" {
            return self.reference.to_string();
        }
        format!(
            "{}/{}@{}",
            self.reference.host(),
            self.reference.repository(),
            self.version
        )
    }
}

impl Blob {
    /// Its bytes.
    pub fn bytes(self) -> impl Stream<Item = Result<Bytes, OciFailure>> {
        let registry = self.registry;
        self.response
            .bytes_stream()
            .map(move |part| part.map_err(|error| OciFailure::of(&registry, &error)))
    }

    /// The answer itself, for engines that read answers.
    #[must_use]
    pub fn into_response(self) -> Response {
        self.response
    }
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

fn bearer(token: &str) -> Option<HeaderValue> {
    sensitive(&format!("Bearer {token}"))
}

fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    sensitive(&format!("Basic {text}"))
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Follows redirects, but never out of TLS. Nothing that says who we are goes
/// to another host.
fn redirects(plain_http: BTreeSet<String>) -> redirect::Policy {
    redirect::Policy::custom(move |attempt| {
        if attempt.previous().len() > MAX_REDIRECTS {
            return attempt.error(format!("more than {MAX_REDIRECTS} redirects"));
        }
        let host = attempt.url().host_str().unwrap_or_default();
        let place = match attempt.url().port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let from_plain = attempt
            .previous()
            .last()
            .is_some_and(|url| url.scheme() == "http");
        if attempt.url().scheme() == "https" || from_plain || plain_http.contains(&place) {
            return attempt.follow();
        }
        attempt.error(format!("a redirect to {place} without TLS"))
    })
}

fn checked(asked: &Asked<'_>, response: Response, known: bool) -> Result<Response, OciFailure> {
    let status = response.status();
    if status == StatusCode::OK || (status == StatusCode::PARTIAL_CONTENT && asked.from > 0) {
        return Ok(response);
    }
    let what = asked.what();
    let retry_after = retry_after(response.headers());
    Err(match status.as_u16() {
        401 => OciFailure::Unauthorized { what, known },
        403 => OciFailure::Denied { what },
        404 | 410 => OciFailure::NotFound { what },
        429 => OciFailure::TooMany { what, retry_after },
        status @ 500.. => OciFailure::Server {
            what,
            status,
            retry_after,
        },
        status => OciFailure::Unexpected {
            what,
            found: format!("the answer is {status}"),
        },
    })
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = header(headers, RETRY_AFTER.as_str())?;
    let text = text.trim();
    let after = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let then = httpdate::parse_http_date(text).ok()?;
            let then = then.duration_since(std::time::UNIX_EPOCH).ok()?;
            then.saturating_sub(Duration::from_secs(clock::now().secs()))
        }
    };
    Some(after.min(MAX_RETRY_AFTER))
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// `bytes 5-9/10`: the first byte and the whole length.
fn range_of(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()))
}

/// The body, where it is no larger than `limit`.
async fn limited(
    response: Response,
    registry: &str,
    what: &str,
    limit: usize,
) -> Result<Bytes, OciFailure> {
    let mut body = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(part) = stream.next().await {
        let part = part.map_err(|error| OciFailure::of(registry, &error))?;
        if body.len() + part.len() > limit {
            return Err(OciFailure::TooLarge {
                what: what.to_owned(),
                limit,
            });
        }
        body.extend_from_slice(&part);
    }
    Ok(body.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ranges_and_waits() {
        assert_eq!(range_of("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(range_of("bytes 5-9/*"), Some((5, None)));
        assert_eq!(range_of("pages 5-9/10"), None);
        let wait = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
            retry_after(&headers).map(|after| after.as_secs())
        };
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait("99999999999"), Some(24 * 3600));
        assert_eq!(wait("Fri, 31 Dec 1999 23:59:59 GMT"), Some(0));
        assert_eq!(wait("soon"), None);
    }
}
