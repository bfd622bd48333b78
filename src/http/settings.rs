//! Settings of HTTP: flags, validated once.

use clap::Args;
use clap::builder::RangedU64ValueParser;

use super::door::{CONNECTIONS, CONNECTIONS_PER_CLIENT, Limits};
use super::listing::Shown;
use crate::files::ArtifactPath;

/// Settings of HTTP.
#[derive(Clone, Debug, Args)]
pub struct HttpArgs {
    /// Answer a request for a folder with 403 instead of a listing.
    #[arg(long, env = "REVEILLE_NO_LISTING")]
    pub no_listing: bool,

    /// A folder that is not listed, nor what is below it, such as isos; may be
    /// given several times.
    #[arg(
        long,
        env = "REVEILLE_NO_LISTING_OF",
        value_name = "PATH",
        value_delimiter = ':',
        value_parser = parse_folder
    )]
    pub no_listing_of: Vec<ArtifactPath>,

    /// HTTP connections of machines at a time; more wait.
    #[arg(
        long,
        env = "REVEILLE_HTTP_CONNECTIONS",
        value_name = "COUNT",
        default_value_t = CONNECTIONS,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=65_536)
    )]
    pub http_connections: usize,

    /// HTTP connections of one address at a time; more are closed.
    #[arg(
        long,
        env = "REVEILLE_HTTP_CONNECTIONS_PER_CLIENT",
        value_name = "COUNT",
        default_value_t = CONNECTIONS_PER_CLIENT,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=65_536)
    )]
    pub http_connections_per_client: usize,
}

// === impl HttpArgs ===

impl HttpArgs {
    /// Which folders are shown.
    #[must_use]
    pub fn listing(&self) -> Shown {
        if self.no_listing {
            Shown::None
        } else {
            Shown::AllBut(self.no_listing_of.clone())
        }
    }

    /// What the door bears.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            connections: self.http_connections,
            connections_per_client: self.http_connections_per_client,
            ..Limits::default()
        }
    }
}

/// Reads the path of a folder.
fn parse_folder(text: &str) -> Result<ArtifactPath, String> {
    let path = ArtifactPath::parse(text).map_err(|error| format!("`{text}`: {error}"))?;
    if path.is_root() {
        return Err(format!("`{text}` is everything; that is --no-listing"));
    }
    Ok(path)
}
