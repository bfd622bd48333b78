//! Settings of TFTP: flags, validated once.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};

use super::resolve::{Naming, Uploads};
use super::server::{AnswerFrom, TRANSFERS, TftpLimits};
use super::transfer::{Limits, MAX_WINDOWSIZE, Rollover};
use super::wire::{MAX_BLKSIZE, MIN_BLKSIZE};
use crate::files::ArtifactPath;

/// Settings of TFTP.
#[derive(Clone, Debug, Args)]
pub struct TftpArgs {
    /// TFTP transfers at a time. More are refused, unless one whose client has
    /// not answered yet can give way.
    #[arg(
        long,
        env = "REVEILLE_TFTP_TRANSFERS",
        value_name = "COUNT",
        default_value_t = TftpLimits::default().transfers,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=65_536)
    )]
    pub tftp_transfers: usize,

    /// TFTP transfers of one address at a time.
    #[arg(
        long,
        env = "REVEILLE_TFTP_TRANSFERS_PER_CLIENT",
        value_name = "COUNT",
        default_value_t = TftpLimits::default().per_client,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=65_536)
    )]
    pub tftp_transfers_per_client: usize,

    /// Seconds that one TFTP transfer may take.
    #[arg(
        long,
        env = "REVEILLE_TFTP_DEADLINE",
        value_name = "SECONDS",
        default_value_t = 3600,
        value_parser = clap::value_parser!(u32).range(10..=86_400)
    )]
    pub tftp_deadline: u32,

    /// Largest TFTP block in bytes, for a path that cuts packets. Default: what
    /// fits the mtu of the Subnet, else 1468.
    #[arg(
        long,
        env = "REVEILLE_TFTP_BLKSIZE",
        value_name = "BYTES",
        value_parser = clap::value_parser!(u16).range(i64::from(MIN_BLKSIZE)..=i64::from(MAX_BLKSIZE))
    )]
    pub tftp_blksize: Option<u16>,

    /// Largest TFTP window in blocks. Some clients fail above 64.
    #[arg(
        long,
        env = "REVEILLE_TFTP_WINDOWSIZE",
        value_name = "BLOCKS",
        default_value_t = Limits::default().windowsize,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_WINDOWSIZE))
    )]
    pub tftp_windowsize: u16,

    /// The block number that follows 65535.
    #[arg(
        long,
        env = "REVEILLE_TFTP_ROLLOVER",
        value_enum,
        default_value_t = RolloverTo::Zero
    )]
    pub tftp_rollover: RolloverTo,

    /// The ports that TFTP answers leave from, such as 50000-50255, for a
    /// firewall. Default: any.
    #[arg(
        long,
        env = "REVEILLE_TFTP_PORTS",
        value_name = "FIRST-LAST",
        value_parser = parse_ports,
        conflicts_with = "tftp_single_port"
    )]
    pub tftp_ports: Option<RangeInclusive<u16>>,

    /// Answer TFTP from the port that was asked, for clients behind address
    /// translation. A little slower.
    #[arg(long, env = "REVEILLE_TFTP_SINGLE_PORT")]
    pub tftp_single_port: bool,

    /// A folder of the artifact tree with folders of single machines, named by
    /// MAC address (52-54-00-12-34-56) or IP address: over TFTP a machine sees
    /// what is in its own before the common tree.
    #[arg(
        long,
        env = "REVEILLE_TFTP_VIEWS",
        value_name = "PATH",
        value_parser = parse_path
    )]
    pub tftp_views: Option<ArtifactPath>,

    /// A TFTP name that stands for a file of another name; may be given several
    /// times.
    #[arg(
        long = "tftp-alias",
        env = "REVEILLE_TFTP_ALIASES",
        value_name = "NAME=PATH",
        value_delimiter = ',',
        value_parser = parse_alias
    )]
    pub tftp_aliases: Vec<(ArtifactPath, ArtifactPath)>,

    /// A folder of the artifact tree in which TFTP clients may make files, and
    /// below it; may be given several times. Default: none, nobody writes.
    #[arg(
        long,
        env = "REVEILLE_TFTP_UPLOADS",
        value_name = "PATH",
        value_delimiter = ':',
        value_parser = parse_path
    )]
    pub tftp_uploads: Vec<ArtifactPath>,

    /// Most bytes of one file that a TFTP client writes.
    #[arg(
        long,
        env = "REVEILLE_TFTP_UPLOAD_BYTES",
        value_name = "BYTES",
        default_value_t = 64 << 20
    )]
    pub tftp_upload_bytes: u64,

    /// Most bytes that the files of a folder of uploads have together.
    #[arg(
        long,
        env = "REVEILLE_TFTP_UPLOAD_QUOTA",
        value_name = "BYTES",
        default_value_t = 1 << 30
    )]
    pub tftp_upload_quota: u64,

    /// Let TFTP clients replace files in the folders of uploads.
    #[arg(long, env = "REVEILLE_TFTP_UPLOAD_REPLACE")]
    pub tftp_upload_replace: bool,
}

/// What follows block 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RolloverTo {
    /// 0, as nearly all clients have it.
    #[value(name = "0")]
    Zero,
    /// 1.
    #[value(name = "1")]
    One,
}

// === impl TftpArgs ===

impl TftpArgs {
    /// What strangers may take; transfers may go on for `drain` at the end.
    #[must_use]
    pub fn limits(&self, drain: Duration) -> TftpLimits {
        TftpLimits {
            transfers: self
                .tftp_transfers
                .clamp(*TRANSFERS.start(), *TRANSFERS.end()),
            per_client: self.tftp_transfers_per_client,
            drain,
            blksize: self.tftp_blksize,
            transfer: Limits {
                windowsize: self.tftp_windowsize,
                longest: Duration::from_secs(self.tftp_deadline.into()),
                rollover: match self.tftp_rollover {
                    RolloverTo::Zero => Rollover::Zero,
                    RolloverTo::One => Rollover::One,
                },
                ..Limits::default()
            },
        }
    }

    /// Where answers leave from.
    #[must_use]
    pub fn answer_from(&self) -> AnswerFrom {
        match &self.tftp_ports {
            _ if self.tftp_single_port => AnswerFrom::SamePort,
            Some(ports) => AnswerFrom::Ports(ports.clone()),
            None => AnswerFrom::AnyPort,
        }
    }

    /// How names are taken.
    #[must_use]
    pub fn naming(&self) -> Naming {
        let aliases: BTreeMap<_, _> = self.tftp_aliases.iter().cloned().collect();
        Naming {
            views: self.tftp_views.clone(),
            aliases,
        }
    }

    /// Who may write what.
    #[must_use]
    pub fn uploads(&self) -> Uploads {
        Uploads {
            folders: self.tftp_uploads.clone(),
            largest: self.tftp_upload_bytes,
            quota: self.tftp_upload_quota,
            replace: self.tftp_upload_replace,
        }
    }
}

/// Reads `FIRST-LAST`.
fn parse_ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let wrong = || format!("`{text}` is not FIRST-LAST, such as 50000-50255");
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let (first, last): (u16, u16) = match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) => (first, last),
        (Ok(_) | Err(_), _) => return Err(wrong()),
    };
    if first < 1024 || last < first {
        return Err(format!(
            "`{text}` is no range of ports from 1024 on, the smaller one first"
        ));
    }
    Ok(first..=last)
}

/// Reads a path of the artifact tree.
fn parse_path(text: &str) -> Result<ArtifactPath, String> {
    let path = ArtifactPath::parse(text).map_err(|error| format!("`{text}`: {error}"))?;
    if path.is_root() {
        return Err(format!(
            "`{text}` names the whole tree; name a folder in it"
        ));
    }
    Ok(path)
}

/// Reads `NAME=PATH`.
fn parse_alias(text: &str) -> Result<(ArtifactPath, ArtifactPath), String> {
    let wrong = || format!("`{text}` is not NAME=PATH, such as bootx64.efi=ipxe.efi");
    let (name, path) = text.split_once('=').ok_or_else(wrong)?;
    Ok((parse_path(name)?, parse_path(path)?))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        tftp: TftpArgs,
    }

    fn parse(flags: &[&str]) -> Result<TftpArgs, String> {
        let flags = ["reveille"].iter().chain(flags);
        let cli = Cli::try_parse_from(flags);
        cli.map(|cli| cli.tftp).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_those_of_the_service() {
        let args = parse(&[]).unwrap();
        let drain = Duration::from_secs(10);
        assert_eq!(args.limits(drain), TftpLimits::default());
        assert_eq!(args.answer_from(), AnswerFrom::AnyPort);
        assert_eq!(args.naming(), Naming::default());
    }

    #[test]
    fn says_what_is_wrong_with_a_value() {
        for (flag, cure) in [
            ("--tftp-ports=5", "such as 50000-50255"),
            ("--tftp-ports=60000-50000", "the smaller one first"),
            ("--tftp-ports=69-70", "from 1024 on"),
            ("--tftp-views=/", "name a folder in it"),
            ("--tftp-views=../x", "leaves the root"),
            ("--tftp-alias=a", "such as bootx64.efi=ipxe.efi"),
            ("--tftp-rollover=2", "0, 1"),
            ("--tftp-transfers=0", "1..=65536"),
            ("--tftp-blksize=4", "8..=65464"),
        ] {
            let error = parse(&[flag]).unwrap_err();
            assert!(error.contains(cure), "{flag}: {error}");
        }
        let both = parse(&["--tftp-ports=50000-50009", "--tftp-single-port"]);
        assert!(both.unwrap_err().contains("cannot be used with"));
    }
}
