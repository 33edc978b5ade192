//! Local listeners: a loopback port or a Unix socket that leads to one service.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use countersign_channel::tunnel::Early;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::local::Local;
use super::open::{Carriage, Open};
use super::sessions::Sessions;
use crate::config::{AgentListenerConfig, Bind, ServiceName};
use crate::report::Report;

/// A listener that is bound and not yet answered.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    place: String,
    service: ServiceName,
    carriage: Carriage,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixDoor),
}

impl Listener {
    /// Binds the port or the socket.
    ///
    /// # Errors
    ///
    /// It is in use, or the system does not let the agent have it.
    pub(crate) fn bind(config: &AgentListenerConfig) -> Result<Self, ListenError> {
        let purpose = format!("`{}`", config.service);
        let socket = match &config.bind {
            Bind::Tcp(address) => Socket::Tcp(bind_tcp(*address, &purpose)?),
            Bind::Unix {
                path,
                mode,
                allowed_uids,
            } => Socket::Unix(
                UnixDoor::bind(path, *mode, allowed_uids)
                    .map_err(|source| ListenError::new(path.display(), &purpose, source))?,
            ),
        };
        Ok(Self {
            socket,
            place: config.bind.place(),
            service: config.service.clone(),
            carriage: if config.own_connection {
                Carriage::Own
            } else {
                Carriage::Shared
            },
        })
    }

    /// The port that was bound, where it is one.
    #[cfg(test)]
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    /// Answers until `stop`; streams go on after that.
    pub(crate) async fn run<O: Open>(
        self,
        open: O,
        sessions: Arc<Sessions>,
        stop: CancellationToken,
    ) {
        tracing::info!(service = %self.service, at = self.place, "listening");
        while let Some(accepted) = stop.run_until_cancelled(self.accept()).await {
            let local = match accepted {
                Ok(Some(local)) => local,
                Ok(None) => continue,
                Err(error) => {
                    pause_after(&error, &self.service).await;
                    continue;
                }
            };
            let (open, carriage, service) = (open.clone(), self.carriage, self.service.clone());
            let carrier = Arc::clone(&sessions);
            sessions.spawn(async move {
                serve(local, open, &carrier, &service, carriage).await;
            });
        }
    }

    async fn accept(&self) -> io::Result<Option<Local>> {
        match &self.socket {
            Socket::Tcp(listener) => Ok(Some(listener.accept().await?.0.into())),
            Socket::Unix(door) => Ok(door.accept().await?.map(Local::from)),
        }
    }
}

/// Opens the stream of one connection, and carries it. What the program says first goes with the request for the stream.
async fn serve<O: Open>(
    mut local: Local,
    open: O,
    sessions: &Sessions,
    service: &ServiceName,
    carriage: Carriage,
) {
    let mut early = Early::of(&mut local);
    match open.open_saying(service, carriage, &mut early).await {
        Ok(stream) => {
            sessions.said(early.said());
            sessions.carry(local, stream, service).await;
        }
        // The program sees a reset: `local` is dropped before either direction ended.
        Err(error) => tracing::warn!(%service, %error, "no stream"),
    }
}

/// Answers each connection of a port with `serve` until `stop`.
pub(crate) async fn serve_each<F>(
    listener: TcpListener,
    sessions: Arc<Sessions>,
    stop: CancellationToken,
    serve: impl Fn(TcpStream) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((client, _)) => sessions.spawn(serve(client)),
            Err(error) => pause_after(&error, &"the proxy").await,
        }
    }
}

/// Binds a port.
///
/// # Errors
///
/// It is in use, or the system does not let the agent have it.
pub(crate) fn bind_tcp(address: SocketAddr, purpose: &str) -> Result<TcpListener, ListenError> {
    let bind = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    bind().map_err(|source| ListenError::new(address, purpose, source))
}

/// Why a listener could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on `{address}` for {purpose}")]
pub(crate) struct ListenError {
    address: String,
    purpose: String,
    source: io::Error,
}

impl ListenError {
    fn new(address: impl ToString, purpose: &str, source: io::Error) -> Self {
        Self {
            address: address.to_string(),
            purpose: purpose.to_owned(),
            source,
        }
    }
}

impl Report for ListenError {
    fn hint(&self) -> Option<String> {
        match self.source.kind() {
            io::ErrorKind::AddrInUse if self.address.starts_with('/') => Some(format!(
                "another program answers there; `lsof {}` shows which",
                self.address
            )),
            io::ErrorKind::AddrInUse => {
                let port = self.address.rsplit(':').next().unwrap_or_default();
                Some(format!(
                    "another program has the port; `ss -ltnp 'sport = :{port}'` shows which"
                ))
            }
            io::ErrorKind::PermissionDenied => {
                Some("choose a port above 1023, or a folder that the agent may write to".to_owned())
            }
            _ => None,
        }
    }
}

/// A Unix socket that opens for some users only, and whose file goes when it does.
#[derive(Debug)]
struct UnixDoor {
    listener: UnixListener,
    path: PathBuf,
    inode: (u64, u64),
    uids: Vec<u32>,
}

impl UnixDoor {
    fn bind(path: &Path, mode: u32, allowed_uids: &[u32]) -> io::Result<Self> {
        remove_dead(path)?;
        let listener = UnixListener::bind(path)?;
        // Between the two calls the mode is what the umask left; nobody is let in by it, the uid decides.
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
        let metadata = std::fs::symlink_metadata(path)?;
        let mut uids = allowed_uids.to_vec();
        uids.push(rustix::process::geteuid().as_raw());
        Ok(Self {
            listener,
            path: path.to_owned(),
            inode: (metadata.dev(), metadata.ino()),
            uids,
        })
    }

    /// The next connection, or nothing where its user is not among those allowed (`SO_PEERCRED`).
    async fn accept(&self) -> io::Result<Option<UnixStream>> {
        let (client, _) = self.listener.accept().await?;
        let uid = client.peer_cred()?.uid();
        if self.uids.contains(&uid) {
            return Ok(Some(client));
        }
        tracing::warn!(socket = %self.path.display(), uid, "user refused");
        Ok(None)
    }
}

impl Drop for UnixDoor {
    fn drop(&mut self) {
        let is_ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.inode);
        if is_ours {
            let _gone = std::fs::remove_file(&self.path);
        }
    }
}

/// Removes the socket that a killed agent left behind; one that somebody answers stays, and binding fails.
fn remove_dead(path: &Path) -> io::Result<()> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "a file that is no socket is there",
        ));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        _ => Ok(()),
    }
}

/// A connection that is gone before it was accepted is no reason to wait; a process out of file descriptors is.
async fn pause_after(error: &io::Error, purpose: &(impl std::fmt::Display + ?Sized)) {
    if error.kind() != io::ErrorKind::ConnectionAborted {
        tracing::error!(%error, listener = %purpose, "cannot accept");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_allowed_users_get_through_a_unix_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("door");
        let own = rustix::process::geteuid().as_raw();
        let mut door = UnixDoor::bind(&path, 0o666, &[own + 7]).unwrap();
        assert_eq!(door.uids, [own + 7, own]);
        let _allowed = UnixStream::connect(&path).await.unwrap();
        assert!(door.accept().await.unwrap().is_some());
        door.uids = vec![own + 7];
        let mut refused = UnixStream::connect(&path).await.unwrap();
        assert!(door.accept().await.unwrap().is_none());
        let end = tokio::io::AsyncReadExt::read(&mut refused, &mut [0; 1]).await;
        assert_eq!(end.unwrap(), 0);
    }
}
