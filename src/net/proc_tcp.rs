//! The kernel's table of TCP sockets (`/proc/net/tcp`, proc_pid_net(5)).

use std::fs;

/// The states of a socket that matter here, as the table has them (`include/net/tcp_states.h`).
pub(super) const LISTEN: &str = "0A";
/// A connection that is not ready to be accepted.
pub(super) const SYN_RECV: &str = "03";

/// The inodes of the sockets of this process' network namespace that have this local port, on
/// whatever address, and this state. Where the table is not to be had there are none.
pub(super) fn inodes(port: u16, state: &str) -> Vec<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    let lines = tables
        .iter()
        .flatten()
        .flat_map(|table| table.lines().skip(1));
    lines
        .filter_map(|line| {
            // sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode
            let mut fields = line.split_ascii_whitespace().skip(1);
            let (_, hex) = fields.next()?.rsplit_once(':')?;
            let is_it = u16::from_str_radix(hex, 16) == Ok(port) && fields.nth(1) == Some(state);
            is_it.then(|| fields.nth(5).map(ToOwned::to_owned))?
        })
        .collect()
}
