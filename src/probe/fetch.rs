//! Fetches the files of a boot, by the interface alone. Shell.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::{StatusCode, Uri};
use sha2::{Digest as _, Sha256};

use super::client::{ALSO, Run};
use super::steps::{read, text, within};
use super::web::{self, By};
use crate::packets::options::hex;
use crate::tls::Trusting;

/// The port of TFTP.
const TFTP_PORT: u16 = 69;

/// A file that came.
pub(super) struct Came {
    url: String,
    pub(super) body: Bytes,
}

// === impl Run ===

impl Run<'_> {
    /// Fetches a URL by TFTP or HTTP, by the interface alone.
    pub(super) async fn fetch(&mut self, name: &'static str, url: &str) -> Option<Came> {
        match self.bytes(url).await {
            Ok((body, seen)) => {
                self.pass(name, seen);
                Some(Came {
                    url: url.to_owned(),
                    body,
                })
            }
            Err((seen, cure)) => {
                self.fail(name, &seen, &cure);
                None
            }
        }
    }

    async fn bytes(&self, url: &str) -> Result<(Bytes, String), (String, String)> {
        let wrong = |why: &str| (format!("{url}: {why}"), "correct the URL".to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong("it is no URL"))?;
        let host = uri.host().ok_or_else(|| wrong("it names no server"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let address: IpAddr = host.parse().map_err(|_| {
            let cure = "firmware has no DNS before the offer: name the server by its address";
            (format!("{url} names its server by name"), cure.to_owned())
        })?;
        let unasked = |seen| (seen, ALSO.to_owned());
        self.wire.may_reach(address).map_err(unasked)?;
        let device = Some(self.wire.name.as_str());
        match uri.scheme_str() {
            Some("tftp") => {
                let port = uri.port_u16().unwrap_or(TFTP_PORT);
                let at = SocketAddr::from((address, port));
                let file = uri.path().trim_start_matches('/');
                let came = within(self.play.patience, read(at, file, device)).await;
                let bytes = came.map_err(|error| {
                    let cure = format!("is {file} there? open UDP {port} to {address}, and back from its high ports");
                    (format!("{file} by TFTP from {at}: {error:#}"), cure)
                })?;
                if bytes.is_empty() {
                    return Err((format!("{url} is empty"), "put the file there".to_owned()));
                }
                let digest = hex(&Sha256::digest(&bytes));
                let right = self.is_right(url, &digest)?;
                let seen = format!("{url}, {} B, sha256 {digest}{right}", bytes.len());
                Ok((bytes.into(), seen))
            }
            Some("http") => self.web(url, &uri, address, None).await,
            Some("https") => match &self.play.trusting {
                Some(trusting) => self.web(url, &uri, address, Some(trusting)).await,
                None => {
                    let cure =
                        "name the certificate of its authority by --ca; `reveille ca` prints ours";
                    Err((
                        format!("{url}: whom to trust is not known"),
                        cure.to_owned(),
                    ))
                }
            },
            Some(other) => Err(wrong(&format!("{other} is not followed by this probe"))),
            None => Err(wrong("it names no protocol")),
        }
    }

    async fn web(
        &self,
        url: &str,
        uri: &Uri,
        address: IpAddr,
        trusting: Option<&Trusting>,
    ) -> Result<(Bytes, String), (String, String)> {
        let own = if trusting.is_some() { 443 } else { 80 };
        let at = SocketAddr::from((address, uri.port_u16().unwrap_or(own)));
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let by = By {
            device: Some(self.wire.name.as_str()),
            trusting,
        };
        let answer = within(self.play.patience, web::get(at, path, by)).await;
        let answer = answer.map_err(|error| {
            let cure = match trusting {
                None => format!("open TCP {} from here to {address}", at.port()),
                Some(_) => format!(
                    "open TCP {} from here to {address}; its certificate must name {address}, and be of the authority in --ca",
                    at.port()
                ),
            };
            (format!("{url}: {error:#}"), cure)
        })?;
        if let Some(location) = answer.location {
            let cure = "firmware and old iPXE follow no redirect: serve the file there".to_owned();
            return Err((format!("{url} is sent on to {location}"), cure));
        }
        if answer.status != StatusCode::OK {
            let seen = format!(
                "{url}: status {}: {}",
                answer.status.as_u16(),
                text(&answer.body)
            );
            let cure = "is the file there, and may this machine have it? `reveille explain MAC`";
            return Err((seen, cure.to_owned()));
        }
        if answer.bytes == 0 {
            return Err((format!("{url} is empty"), "put the file there".to_owned()));
        }
        if answer.length.is_none() {
            let cure = "UEFI HTTP boot wants a Content-Length; a proxy between may take it away";
            return Err((format!("{url} says no length"), cure.to_owned()));
        }
        let kind = answer.kind.as_deref().unwrap_or("no type");
        let seen = format!(
            "{url}, {} B, {kind}, sha256 {}",
            answer.bytes, answer.sha256
        );
        Ok((answer.body, seen))
    }

    /// Holds a digest against the one that the server tells of, where it does.
    fn is_right(&self, url: &str, digest: &str) -> Result<&'static str, (String, String)> {
        let file = url.rsplit('/').next().unwrap_or(url);
        let known = &self.play.known;
        match known.get(url).or_else(|| known.get(file)) {
            None => Ok(""),
            Some(right) if right == digest => Ok(", as the server says"),
            Some(right) => Err((
                format!("{url} has sha256 {digest}, and the server has {right}"),
                "is there another server at this address, or a proxy between that changes it?"
                    .to_owned(),
            )),
        }
    }
}

// === impl Came ===

impl Came {
    /// Whether a loader is iPXE: by the file's name, as builds for BIOS are
    /// compressed, or by its own name in its bytes.
    pub(super) fn is_ipxe(&self) -> bool {
        let file = self.url.rsplit('/').next().unwrap_or_default();
        let named = ["ipxe", "undionly", "snponly"];
        let named = named.iter().any(|name| file.contains(name));
        named || self.body.windows(4).any(|window| window == b"iPXE")
    }
}
