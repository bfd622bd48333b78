//! Why a TLS handshake failed, and what to do about it. Core.
//!
//! The clients are firmware and boot loaders of many years: each reason names
//! the programs that are known for it.

use std::io;

use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible};

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HandshakeFailed {
    /// What came is no TLS.
    NotTls,
    /// The client speaks TLS 1.1 or older only.
    TooOld,
    /// Client and server share no cipher, key exchange or signature.
    NothingInCommon,
    /// The client does not trust the certificate's authority.
    Untrusted,
    /// The client finds the certificate to be of another time.
    OutOfDate,
    /// The client refuses the certificate for another reason.
    Refused,
    /// A client certificate is required and none came.
    NoClientCertificate,
    /// A client certificate came that the authority did not sign.
    ClientCertificate,
    /// The client went away.
    ClientLeft,
    /// It took too long.
    TimedOut,
    /// Anything else.
    Broken,
}

impl HandshakeFailed {
    /// All reasons, for metrics that are there from the start.
    pub const ALL: [Self; 11] = [
        Self::NotTls,
        Self::TooOld,
        Self::NothingInCommon,
        Self::Untrusted,
        Self::OutOfDate,
        Self::Refused,
        Self::NoClientCertificate,
        Self::ClientCertificate,
        Self::ClientLeft,
        Self::TimedOut,
        Self::Broken,
    ];

    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotTls => "not-tls",
            Self::TooOld => "tls-too-old",
            Self::NothingInCommon => "nothing-in-common",
            Self::Untrusted => "certificate-untrusted",
            Self::OutOfDate => "certificate-out-of-date",
            Self::Refused => "certificate-refused",
            Self::NoClientCertificate => "no-client-certificate",
            Self::ClientCertificate => "client-certificate-untrusted",
            Self::ClientLeft => "client-left",
            Self::TimedOut => "handshake-timed-out",
            Self::Broken => "handshake-broken",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn cure(self) -> &'static str {
        match self {
            Self::NotTls => "an http:// URL leads to the HTTPS port; correct the URL",
            Self::TooOld => {
                "the client knows TLS 1.1 at most; boot it over HTTP, or update its firmware"
            }
            Self::NothingInCommon => {
                "iPXE before December 2025 and firmware without elliptic curves want an RSA \
                 certificate, iPXE before 2024 has no ECDHE; add an RSA certificate, use a newer \
                 iPXE, or boot it over HTTP"
            }
            Self::Untrusted => {
                "build the certificate's authority into iPXE, enrol it in the firmware's TLS \
                 settings, or take a certificate of an authority that the client knows"
            }
            Self::OutOfDate => {
                "the certificate has run out or the machine's clock is wrong; look at both"
            }
            Self::Refused => {
                "the certificate must name the address in the URL, and be meant for servers"
            }
            Self::NoClientCertificate => "show a certificate that the client authority signed",
            Self::ClientCertificate => {
                "the certificate must be signed by the authority in --admin-client-ca, and be in date"
            }
            Self::ClientLeft => {
                "iPXE and EDK2 leave without a word when they do not trust the certificate; see to \
                 that they know its authority"
            }
            Self::TimedOut => "the client said nothing for too long; look at the network",
            Self::Broken => "the message was damaged, or the client's TLS is; try another client",
        }
    }
}

impl From<&io::Error> for HandshakeFailed {
    fn from(error: &io::Error) -> Self {
        let inner = error.get_ref();
        let inner: Option<&Error> = inner.and_then(|inner| inner.downcast_ref());
        match (inner, error.kind()) {
            (Some(error), _) => Self::from(error),
            (None, io::ErrorKind::TimedOut) => Self::TimedOut,
            (
                None,
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe,
            ) => Self::ClientLeft,
            (None, _) => Self::Broken,
        }
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the errors of rustls are its own and open; what is not named is said in its words"
)]
impl From<&Error> for HandshakeFailed {
    fn from(error: &Error) -> Self {
        match error {
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => Self::NotTls,
            Error::PeerIncompatible(why) => incompatible(why),
            Error::AlertReceived(alert) => alerted(*alert),
            Error::NoCertificatesPresented => Self::NoClientCertificate,
            Error::InvalidCertificate(_) => Self::ClientCertificate,
            _ => Self::Broken,
        }
    }
}

const fn incompatible(why: &PeerIncompatible) -> HandshakeFailed {
    if matches!(
        why,
        PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::SupportedVersionsExtensionRequired
            // TLS 1.1 had no such extension, and that is looked at first.
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired
    ) {
        HandshakeFailed::TooOld
    } else {
        HandshakeFailed::NothingInCommon
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of forty alerts these say something that a person can mend"
)]
const fn alerted(alert: AlertDescription) -> HandshakeFailed {
    match alert {
        AlertDescription::UnknownCA => HandshakeFailed::Untrusted,
        AlertDescription::CertificateExpired => HandshakeFailed::OutOfDate,
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnrecognisedName
        | AlertDescription::AccessDenied => HandshakeFailed::Refused,
        AlertDescription::ProtocolVersion => HandshakeFailed::TooOld,
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            HandshakeFailed::NothingInCommon
        }
        AlertDescription::UserCanceled | AlertDescription::CloseNotify => {
            HandshakeFailed::ClientLeft
        }
        _ => HandshakeFailed::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_name_of_its_own_and_a_cure() {
        let mut names: Vec<_> = HandshakeFailed::ALL.map(HandshakeFailed::as_str).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), HandshakeFailed::ALL.len());
        for reason in HandshakeFailed::ALL {
            assert!(!reason.cure().is_empty() && !reason.cure().ends_with('.'));
        }
    }

    #[test]
    fn reads_reasons_out_of_errors() {
        let wrapped = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        for (error, reason) in [
            (
                Error::AlertReceived(AlertDescription::UnknownCA),
                HandshakeFailed::Untrusted,
            ),
            (
                Error::InvalidMessage(InvalidMessage::InvalidContentType),
                HandshakeFailed::NotTls,
            ),
            (
                Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
                HandshakeFailed::NothingInCommon,
            ),
            (
                Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered),
                HandshakeFailed::TooOld,
            ),
            (
                Error::NoCertificatesPresented,
                HandshakeFailed::NoClientCertificate,
            ),
        ] {
            assert_eq!(HandshakeFailed::from(&wrapped(error)), reason);
        }
        let eof = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(HandshakeFailed::from(&eof), HandshakeFailed::ClientLeft);
    }
}
