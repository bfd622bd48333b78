//! `reveille ca`: the certificate that machines must trust.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::clock;
use crate::tls::{Authority, CA_FILE, FOLDER, esl::signature_list};

/// Print the certificate of the authority that signs for HTTPS where no other is
/// given; made at the first call. Build it into iPXE (TRUST=, or `reveille-ipxe` of
/// the Nix flake), or enrol it in the firmware.
#[derive(Args, Debug)]
pub struct CaArgs {
    /// The state folder of the service.
    #[arg(
        long,
        env = "REVEILLE_STATE",
        value_name = "DIR",
        default_value = "/var/lib/reveille"
    )]
    state: PathBuf,
    /// How to print it.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// PEM, for iPXE and browsers
    #[default]
    Pem,
    /// DER, for firmware menus that read a file
    Der,
    /// An EFI signature list: the variable TlsCaCertificate, OVMF's etc/edk2/https/cacerts
    Esl,
}

impl CaArgs {
    /// Prints to `out`.
    ///
    /// # Errors
    /// An authority that cannot be read or made.
    pub fn run(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let authority = Authority::open(&self.state, clock::now())?;
        match self.format {
            Format::Pem => {
                let pem = std::fs::read(self.state.join(FOLDER).join(CA_FILE))?;
                out.write_all(&pem)?;
            }
            Format::Der => out.write_all(authority.certificate())?,
            Format::Esl => out.write_all(&signature_list(authority.certificate()))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
