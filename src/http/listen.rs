//! What a door accepts connections from: a TCP port, with or without TLS, or a
//! Unix socket. Shell.

use std::fmt;
use std::fs;
use std::hash::Hash;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio_rustls::server::TlsStream;

use super::spans::TakesFiles;
use crate::tls::{Handshakes, Speaks};

/// Connections that the kernel keeps for us until we accept them.
const BACKLOG: u32 = 1024;

/// Bytes that the path of a Unix socket may have: `sockaddr_un` has room for
/// 108, and the last is zero (unix(7)).
pub const SOCKET_PATH_BYTES: usize = 107;

/// Who may use a Unix socket: its owner and its group.
const SOCKET_MODE: u32 = 0o660;

/// Something that connections come from.
pub(super) trait Listen: Send + Sync + 'static {
    /// A connection as it is accepted.
    type Raw: Send + 'static;
    /// A connection that is ready for HTTP.
    type Io: AsyncRead + AsyncWrite + TakesFiles + Unpin + Send + 'static;
    /// Who is at its ends.
    type Ends: Clone + fmt::Debug + fmt::Display + Send + Sync + 'static;
    /// What counts as one client.
    type Client: Copy + Eq + Hash + fmt::Debug + Send + 'static;

    /// Whether files can go into a connection as they are, without a copy.
    const TAKES_FILES: bool;

    /// The next connection; `None` where its client is gone already.
    fn accept(&self) -> impl Future<Output = io::Result<Option<(Self::Raw, Self::Ends)>>> + Send;

    /// Has the event loop of this thread look after a connection that another
    /// one accepted.
    ///
    /// # Errors
    /// Where it has no more descriptors.
    fn adopt(raw: Self::Raw) -> io::Result<Self::Raw> {
        Ok(raw)
    }

    /// Makes a connection ready; `None` where that failed, which is told. Not
    /// in the accept loop: it may wait for the client.
    fn open(
        raw: Self::Raw,
        ends: &Self::Ends,
    ) -> impl Future<Output = Option<Opened<Self::Io>>> + Send;

    /// The client at the other end.
    fn client(ends: &Self::Ends) -> Self::Client;
}

/// A connection that is ready for HTTP.
#[derive(Debug)]
pub(super) struct Opened<I> {
    pub(super) io: I,
    /// What was agreed on.
    pub(super) speaks: Speaks,
    /// Whether the client showed a certificate, which was held against its
    /// authority.
    pub(super) certified: bool,
}

/// A TCP port at which TLS is spoken.
#[derive(Debug)]
pub(super) struct TlsListener {
    /// The port.
    pub(super) tcp: TcpListener,
    /// Whose certificate is shown, and to whom.
    pub(super) handshakes: Handshakes,
}

/// The ends of a TCP connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    /// Theirs.
    pub(super) peer: SocketAddr,
    /// Ours.
    pub(super) local: SocketAddr,
}

/// Who is at the other end of a Unix socket, as the kernel says.
#[derive(Clone, Copy, Debug)]
pub(super) struct User {
    /// The user's number.
    pub(super) uid: u32,
}

/// A Unix socket that is bound; its file goes with it.
#[derive(Debug)]
pub(super) struct LocalListener {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file, so that nobody else's is removed.
    file: (u64, u64),
}

// === TCP ===

/// Binds a TCP port. `only_v6`: an IPv6 address does not take IPv4 as well.
pub(super) fn bind_tcp(listen: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = match listen {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Else a restart waits for the old connections to time out.
    socket.set_reuseaddr(true)?;
    if only_v6 {
        SockRef::from(&socket).set_only_v6(true)?;
    }
    socket.bind(listen)?;
    socket.listen(BACKLOG)
}

impl Listen for TcpListener {
    type Raw = TcpStream;
    type Io = TcpStream;
    type Ends = Ends;
    type Client = IpAddr;
    const TAKES_FILES: bool = true;

    async fn accept(&self) -> io::Result<Option<(TcpStream, Ends)>> {
        let (stream, peer) = Self::accept(self).await?;
        // Heads and short answers must not wait for more.
        let local = stream.set_nodelay(true).and_then(|()| stream.local_addr());
        Ok(match local {
            Ok(local) => Some((stream, Ends { peer, local })),
            Err(error) => {
                tracing::debug!(%peer, %error, "client left before its request");
                None
            }
        })
    }

    fn adopt(raw: TcpStream) -> io::Result<TcpStream> {
        TcpStream::from_std(raw.into_std()?)
    }

    async fn open(raw: TcpStream, _ends: &Ends) -> Option<Opened<TcpStream>> {
        Some(Opened::plain(raw))
    }

    fn client(ends: &Ends) -> IpAddr {
        ends.peer.ip()
    }
}

// === TLS ===

impl Listen for TlsListener {
    type Raw = (TcpStream, Handshakes);
    type Io = TlsStream<TcpStream>;
    type Ends = Ends;
    type Client = IpAddr;
    const TAKES_FILES: bool = false;

    async fn accept(&self) -> io::Result<Option<(Self::Raw, Ends)>> {
        let accepted = Listen::accept(&self.tcp).await?;
        Ok(accepted.map(|(stream, ends)| ((stream, self.handshakes.clone()), ends)))
    }

    fn adopt((stream, handshakes): Self::Raw) -> io::Result<Self::Raw> {
        Ok((<TcpListener as Listen>::adopt(stream)?, handshakes))
    }

    async fn open((stream, handshakes): Self::Raw, ends: &Ends) -> Option<Opened<Self::Io>> {
        let (io, speaks) = handshakes.make(stream, ends.peer).await?;
        let certified = io.get_ref().1.peer_certificates().is_some();
        Some(Opened {
            io,
            speaks,
            certified,
        })
    }

    fn client(ends: &Ends) -> IpAddr {
        ends.peer.ip()
    }
}

impl<I> Opened<I> {
    const fn plain(io: I) -> Self {
        Self {
            io,
            speaks: Speaks::Http1,
            certified: false,
        }
    }
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.peer.fmt(f)
    }
}

// === Unix ===

impl LocalListener {
    /// Binds a socket at `path`, for its owner and group. One that a process
    /// left behind is removed; where we are `alone`, whatever its owner: nobody
    /// else can be serving there, as in a state folder whose lock we hold.
    ///
    /// # Errors
    /// In words that name the cure: the path is too long, is something else,
    /// or is served by another process; the folder cannot be written to.
    pub(super) fn bind(path: &Path, alone: bool) -> Result<Self, String> {
        let shown = path.display();
        let length = path.as_os_str().as_bytes().len();
        if length > SOCKET_PATH_BYTES {
            return Err(format!(
                "the admin socket cannot be {shown}: the path has {length} bytes and a socket's \
                 may have {SOCKET_PATH_BYTES}; name a shorter one by --admin-socket"
            ));
        }
        remove_stale(path, alone)?;
        open(path).map_err(|error| {
            format!(
                "the admin socket {shown} cannot be made: {error}; its folder must be there and \
                 writable for this user, or name another place by --admin-socket"
            )
        })
    }
}

fn open(path: &Path) -> io::Result<LocalListener> {
    use socket2::{Domain, SockAddr, Socket, Type};
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    // The mode of the socket is that of the file which bind makes, less the
    // umask: at no moment may more users connect than in the end.
    rustix::fs::fchmod(socket.as_fd(), Mode::from_raw_mode(SOCKET_MODE))?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    socket.listen(i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
    let metadata = fs::symlink_metadata(path)?;
    Ok(LocalListener {
        listener: UnixListener::from_std(socket.into())?,
        path: path.to_owned(),
        file: (metadata.dev(), metadata.ino()),
    })
}

/// Removes a socket that nobody listens on any more.
fn remove_stale(path: &Path, alone: bool) -> Result<(), String> {
    let shown = path.display();
    let Ok(metadata) = fs::symlink_metadata(path) else {
        // Not there, or bind says what is wrong.
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(format!(
            "the admin socket cannot be {shown}: a file that is no socket is there; \
             remove it, or name another path by --admin-socket"
        ));
    }
    if !alone {
        match StdUnixStream::connect(path) {
            Ok(_) => {
                return Err(format!(
                    "another process serves the admin socket {shown}; stop it, or name another \
                     path by --admin-socket"
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => {
                return Err(format!(
                    "the admin socket {shown} is there and cannot be looked at: {error}; remove \
                     it, or name another path by --admin-socket"
                ));
            }
        }
    }
    fs::remove_file(path)
        .map_err(|error| format!("the old admin socket {shown} cannot be removed: {error}"))
}

impl Drop for LocalListener {
    /// Before the socket closes: as long as it answers nobody takes the path.
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.file);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(socket = %self.path.display(), %error, "the socket's file stays");
        }
    }
}

impl Listen for LocalListener {
    type Raw = UnixStream;
    type Io = UnixStream;
    type Ends = User;
    type Client = u32;
    const TAKES_FILES: bool = false;

    async fn accept(&self) -> io::Result<Option<(UnixStream, User)>> {
        let (stream, _) = self.listener.accept().await?;
        Ok(match stream.peer_cred() {
            Ok(peer) => Some((stream, User { uid: peer.uid() })),
            Err(error) => {
                tracing::debug!(%error, "client left before its request");
                None
            }
        })
    }

    async fn open(raw: UnixStream, _ends: &User) -> Option<Opened<UnixStream>> {
        Some(Opened::plain(raw))
    }

    fn client(ends: &User) -> u32 {
        ends.uid
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {}", self.uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn is_for_owner_and_group_and_goes_with_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let listener = LocalListener::bind(&path, false).unwrap();
        assert_eq!(mode(&path), 0o660);
        let in_use = LocalListener::bind(&path, false).unwrap_err();
        assert!(in_use.contains("another process serves"), "{in_use}");
        let alone = LocalListener::bind(&path, true).unwrap();
        drop(listener);
        assert!(path.exists(), "the file of the second stays");
        drop(alone);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_was_left_behind_is_replaced_and_no_other_file_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the file");
        let first = LocalListener::bind(&path, false).unwrap();
        // Somebody removes the file and a second process takes the path.
        fs::remove_file(&path).unwrap();
        let second = LocalListener::bind(&path, false).unwrap();
        drop(first);
        assert!(path.exists(), "the file of the second stays");
        drop(second);
        fs::write(&path, "notes").unwrap();
        let refused = LocalListener::bind(&path, false).unwrap_err();
        assert!(refused.contains("no socket"), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "notes");
    }

    #[tokio::test]
    async fn a_path_has_107_bytes_at_most() {
        let folder = tempfile::tempdir().unwrap();
        let room = SOCKET_PATH_BYTES - folder.path().as_os_str().len() - 1;
        let longest = folder.path().join("s".repeat(room));
        drop(LocalListener::bind(&longest, false).unwrap());
        let longer = folder.path().join("s".repeat(room + 1));
        let refused = LocalListener::bind(&longer, false).unwrap_err();
        assert!(refused.contains("108 bytes"), "{refused}");
        assert!(refused.contains("--admin-socket"), "{refused}");
    }
}
