//! Unix sockets to listen on, and their files.
//!
//! Users that may write to the file may connect, so the socket listens only once the mode and the
//! owner are right. A file that a process left behind is replaced; one on which a process listens
//! is not.

use std::fs::{self, Metadata};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, fchmod, fstat, openat,
};
use rustix::io::Errno;
use rustix::process::geteuid;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::net::listen::BACKLOG;
use crate::os::words;

/// Access to a unix socket: only users that may write to its file can connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The permission bits of the file.
    pub mode: u32,
    /// The number of the user whose it is, if that is not the one of the process.
    pub user: Option<u32>,
    /// The number of its group, if that is not the one of the process or of the directory.
    pub group: Option<u32>,
}

impl Default for Access {
    /// The user of the process alone.
    fn default() -> Self {
        Self {
            mode: 0o600,
            user: None,
            group: None,
        }
    }
}

/// The file of a socket that this process has bound. Dropping it removes the file, unless another
/// one is in its place.
#[derive(Debug)]
pub struct SocketFile {
    spot: Spot,
    /// The file itself. As long as it is open no other file gets its number.
    file: OwnedFd,
    /// Its user and group as it was made: a directory may pass its own group on.
    owner: (u32, u32),
}

/// A path, and the file that is to be found there. It holds no descriptor, so any thread may look.
#[derive(Clone, Debug)]
pub struct Spot {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Spot {
    /// Whether the path still leads to the file. It asks the file system, which may hang.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|found| self.is(&found))
    }

    fn is(&self, found: &Metadata) -> bool {
        (found.dev(), found.ino()) == (self.device, self.inode)
    }
}

impl SocketFile {
    /// The place of its file.
    #[must_use]
    pub fn spot(&self) -> &Spot {
        &self.spot
    }

    /// Changes who may connect.
    ///
    /// # Errors
    ///
    /// Those of chown(2) and chmod(2).
    pub fn allow(&self, access: Access) -> io::Result<()> {
        // A reload may take an owner back.
        let owner = (
            access.user.unwrap_or(self.owner.0),
            access.group.unwrap_or(self.owner.1),
        );
        let found = fstat(&self.file)?;
        if (found.st_uid, found.st_gid) != owner {
            let (user, group) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
            chownat(&self.file, "", Some(user), Some(group), AtFlags::EMPTY_PATH)?;
        }
        // A descriptor without rights to the file cannot be given to fchmod(2), but its link leads
        // to the same file.
        let link = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        fs::set_permissions(link, fs::Permissions::from_mode(access.mode))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.spot.is_taken() {
            // It fails where the directory may not be written to any more. The next start replaces
            // the file.
            let _ = fs::remove_file(&self.spot.path);
        }
    }
}

/// Listens at `path`, where only those who have `access` can connect from the first moment on.
pub(super) fn listen(path: &Path, access: Access) -> io::Result<(UnixListener, SocketFile)> {
    make_room(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    // The file gets this mode, less the mask of the process (unix(7)).
    fchmod(&socket, Mode::from_raw_mode(0o600))?;
    socket.bind(&SockAddr::unix(path)?)?;
    let (file, found) = open(path)?;
    if found.st_uid != geteuid().as_raw() {
        // A user that may write to the directory has put another one there.
        return Err(io::Error::other(REPLACED));
    }
    // From here on it goes again if anything fails.
    let spot = Spot {
        path: path.to_owned(),
        device: found.st_dev,
        inode: found.st_ino,
    };
    let file = SocketFile {
        spot,
        file,
        owner: (found.st_uid, found.st_gid),
    };
    file.allow(access)?;
    // Until now connecting was refused.
    socket.listen(BACKLOG)?;
    Ok((OwnedFd::from(socket).into(), file))
}

/// Removes the socket of a process that is gone.
fn make_room(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file of that name which is no socket",
        ));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // It is connected, or the queue is full (EAGAIN), or it is a datagram socket (EPROTOTYPE).
        Ok(()) => Err(Errno::ADDRINUSE.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Errno::ADDRINUSE.into()),
        Err(error) if error.raw_os_error() == Some(Errno::PROTOTYPE.raw_os_error()) => {
            Err(Errno::ADDRINUSE.into())
        }
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!(
                "whether somebody listens there cannot be told: {}",
                words(&error)
            ),
        )),
    }
}

/// The file of a socket itself, whatever the path leads to later.
fn open(path: &Path) -> io::Result<(OwnedFd, Stat)> {
    let file = openat(
        CWD,
        path,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let found = fstat(&file)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
        return Err(io::Error::other(REPLACED));
    }
    Ok((file, found))
}

const REPLACED: &str = "the file was replaced while the socket was made";

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn directory() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("edge.sock");
        (dir, path)
    }

    fn access(mode: u32) -> Access {
        Access {
            mode,
            ..Access::default()
        }
    }

    #[test]
    fn the_file_has_the_mode_that_was_asked_for_and_goes_with_the_socket() {
        let (_dir, path) = directory();
        let (_socket, file) = listen(&path, access(0o666)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o666);
        file.allow(access(0o660)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_group_that_was_given_is_taken_back() {
        let (_dir, path) = directory();
        let (_socket, file) = listen(&path, Access::default()).unwrap();
        let group = || fs::metadata(&path).unwrap().gid();
        let own = group();
        // Only root may give a file to any group.
        if file
            .allow(Access {
                group: Some(own + 1),
                ..Access::default()
            })
            .is_ok()
        {
            assert_eq!(group(), own + 1);
        }
        file.allow(Access::default()).unwrap();
        assert_eq!(group(), own);
    }

    #[test]
    fn a_file_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
        let (_dir, path) = directory();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let (_socket, _file) = listen(&path, Access::default()).unwrap();
        UnixStream::connect(&path).unwrap();
        assert_eq!(
            listen(&path, Access::default()).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        UnixStream::connect(&path).expect("it is still there");
    }

    #[test]
    fn a_socket_whose_queue_is_full_is_left_alone() {
        let (_dir, path) = directory();
        let socket = || Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).unwrap();
        let addr = SockAddr::unix(&path).unwrap();
        let busy = socket();
        busy.bind(&addr).unwrap();
        busy.listen(0).unwrap();
        let queued: Vec<Socket> = std::iter::repeat_with(socket)
            .take_while(|client| client.connect(&addr).is_ok())
            .collect();
        assert!(!queued.is_empty());
        assert_eq!(
            listen(&path, Access::default()).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        assert!(path.exists());
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let (_dir, path) = directory();
        fs::write(&path, "precious").unwrap();
        assert_eq!(
            listen(&path, Access::default()).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_datagram_socket_is_left_alone() {
        let (_dir, path) = directory();
        let _other = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        assert_eq!(
            listen(&path, Access::default()).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
    }

    #[test]
    fn the_file_of_a_successor_is_not_removed() {
        let (_dir, path) = directory();
        let (socket, file) = listen(&path, Access::default()).unwrap();
        drop(socket);
        let (_other, _successor) = listen(&path, Access::default()).unwrap();
        assert!(!file.spot().is_taken());
        drop(file);
        UnixStream::connect(&path).unwrap();
    }
}
