//! Addresses in use, and the process that listens there, as far as the kernel tells.

use std::fs;
use std::path::Path;

use crate::addr::ListenAddr;
use crate::net::proc_tcp;

/// The process that listens on this port or path, as `NAME (pid N)`. Only the processes of the same
/// user can be looked at, or all of them by root.
#[must_use]
pub fn listens_on(addr: &ListenAddr) -> Option<String> {
    let inodes = match addr {
        ListenAddr::Unix(path) => unix_inodes(path),
        other => proc_tcp::inodes(other.port()?, proc_tcp::LISTEN),
    };
    let links: Vec<String> = inodes
        .iter()
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if links.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()));
    let mut numbered = processes.filter(|path| {
        path.file_name()
            .is_some_and(|name| name.as_encoded_bytes()[0].is_ascii_digit())
    });
    numbered
        .find(|process| has_open(process, &links))
        .map(|process| {
            let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
            let pid = process
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            format!("{} (pid {pid})", name.trim_end())
        })
}

fn has_open(process: &Path, links: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    descriptors
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .any(|target| {
            target
                .to_str()
                .is_some_and(|target| links.iter().any(|link| link == target))
        })
}

/// Of the sockets that were bound to this path. One that was moved or removed since has it still.
fn unix_inodes(path: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let inode = |line: &str| {
        // Num RefCount Protocol Flags Type St Inode Path, of which the path may have spaces.
        let inode = line.split_ascii_whitespace().nth(6)?;
        let (_, bound) = line.split_once(&format!(" {inode} "))?;
        (Path::new(bound) == path).then(|| inode.to_owned())
    };
    table.lines().skip(1).filter_map(inode).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn who_listens_is_named_with_its_number() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = ListenAddr::Tcp(tcp.local_addr().unwrap());
        let own = format!("(pid {})", std::process::id());
        assert!(
            listens_on(&addr).is_some_and(|who| who.ends_with(&own)),
            "{:?}",
            listens_on(&addr)
        );
        drop(tcp);
        assert_eq!(listens_on(&addr), None);
    }

    #[test]
    fn who_listens_at_a_path_is_named_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let _unix = UnixListener::bind(&path).unwrap();
        let own = format!("(pid {})", std::process::id());
        let who = listens_on(&ListenAddr::Unix(path));
        assert!(
            who.as_ref().is_some_and(|who| who.ends_with(&own)),
            "{who:?}"
        );
    }
}
