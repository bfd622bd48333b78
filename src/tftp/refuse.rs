//! Why a request gets an ERROR packet. Performs no I/O.

use super::resolve;
use super::wire::ErrorCode;

/// Why a request is refused. The client gets the same words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no snapshot yet: nobody knows what to serve.
    NoSnapshot,
    /// A write request, where nobody may write.
    Write,
    /// A write request for a place that takes no files.
    WriteElsewhere,
    /// There is a file of that name, and it is not to be replaced.
    Exists,
    /// The file is longer than one that is taken.
    TooLong,
    /// The folder has as many bytes as it may have.
    QuotaFull,
    /// The disk is full.
    DiskFull,
    /// The file cannot be made.
    WriteFailed,
    /// Mode `mail`, which RFC 1350 already calls obsolete.
    Mail,
    /// A mode that no RFC knows.
    UnknownMode,
    /// As many transfers as there may be.
    Busy,
    /// As many transfers as one client may have.
    ClientBusy,
    /// What the name means cannot be looked up or is not for this machine.
    Name(resolve::Refused),
    /// There is no such file.
    NotFound,
    /// The name is a folder's.
    Folder,
    /// The file may not be read, or a link leads out of the root.
    Denied,
    /// The file cannot be opened or read.
    ReadFailed,
    /// There is no socket left, or none can be had on the address asked.
    NoSocket,
    /// The file is too long to be translated to netascii.
    NetasciiTooLong,
}

impl Refusal {
    /// Its name in log lines and metrics, and the words of the ERROR packet.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoSnapshot => "no-snapshot",
            Self::Write => "write-request",
            Self::WriteElsewhere => "folder-takes-no-files",
            Self::Exists => "file-exists",
            Self::TooLong => "file-too-long",
            Self::QuotaFull => "quota-full",
            Self::DiskFull => "disk-full",
            Self::WriteFailed => "write-failed",
            Self::Mail => "mode-mail",
            Self::UnknownMode => "mode-unknown",
            Self::Busy => "busy",
            Self::ClientBusy => "client-busy",
            Self::Name(refused) => refused.as_str(),
            Self::NotFound => "not-found",
            Self::Folder => "is-folder",
            Self::Denied => "permission-denied",
            Self::ReadFailed => "read-failed",
            Self::NoSocket => "no-socket",
            Self::NetasciiTooLong => "netascii-too-long",
        }
    }

    /// The code of the ERROR packet (RFC 1350 appendix I).
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::NoSnapshot
            | Self::Busy
            | Self::ClientBusy
            | Self::ReadFailed
            | Self::NoSocket
            | Self::WriteFailed
            | Self::NetasciiTooLong => ErrorCode::Undefined,
            Self::Exists => ErrorCode::FileExists,
            Self::TooLong | Self::QuotaFull | Self::DiskFull => ErrorCode::DiskFull,
            Self::NotFound => ErrorCode::FileNotFound,
            Self::Name(_) | Self::Folder | Self::Denied | Self::Write | Self::WriteElsewhere => {
                ErrorCode::AccessViolation
            }
            Self::Mail | Self::UnknownMode => ErrorCode::IllegalOperation,
        }
    }
}
