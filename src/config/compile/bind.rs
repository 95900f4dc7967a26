//! `bind`: the addresses of one listener, and who may connect to its unix sockets.

use std::path::Path;

use crate::addr::ListenAddr;
use crate::config::compile::report::Report;
use crate::config::file::{self, BindTable, Spanned};
use crate::config::files::Files;
use crate::config::model::Bind;
use crate::net::Access;

/// Where the system keeps the numbers of users and groups.
const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

impl Report<'_> {
    /// An entry of `bind`, unless it is wrong.
    pub(super) fn bind(&mut self, entry: &Spanned<file::Bind>, files: &mut Files) -> Option<Bind> {
        let table = match &entry.value {
            file::Bind::Address(text) => {
                let text = Spanned {
                    value: text.clone(),
                    span: entry.span.clone(),
                };
                let addr = self.parse::<ListenAddr>("bind", &text)?;
                return Some(Bind {
                    addr,
                    access: Access::default(),
                });
            }
            file::Bind::Table(table) => table,
        };
        let Some(address) = &table.address else {
            let help = "add `address = \"[::]:443\"`".to_owned();
            self.missing(
                format!("{}.bind", self.table),
                &entry.span,
                "bind: address is missing",
                help,
            );
            return None;
        };
        let addr = self.parse::<ListenAddr>("bind", address)?;
        let begin = self.mark();
        let addr = self.families(addr, table);
        let access = self.access(&addr, table, files);
        self.is_sound_since(begin).then_some(Bind { addr, access })
    }

    fn families(&mut self, addr: ListenAddr, table: &BindTable) -> ListenAddr {
        let Some(only) = &table.v6only else {
            return addr;
        };
        match addr {
            ListenAddr::Tcp(socket) if socket.is_ipv6() && only.value => ListenAddr::Tcp(socket),
            ListenAddr::Zoned(_) if only.value => addr,
            ListenAddr::Tcp(socket) if socket.is_ipv6() && socket.ip().is_unspecified() => {
                ListenAddr::DualStack(socket.port())
            }
            other => {
                let help = "leave it out; for IPv4 beside IPv6 write `{ address = \"[::]:443\", v6only = false }`";
                self.error(
                    &only.span,
                    format_args!("bind: v6only has no effect on {other}"),
                    help.to_owned(),
                );
                other
            }
        }
    }

    fn access(&mut self, addr: &ListenAddr, table: &BindTable, files: &mut Files) -> Access {
        let mut access = Access::default();
        for (key, text) in [("mode", &table.mode), ("owner", &table.owner)] {
            let Some(text) = text else { continue };
            if !matches!(addr, ListenAddr::Unix(_)) {
                let help = match addr {
                    ListenAddr::Systemd(_) => {
                        "write SocketMode=, SocketUser= and SocketGroup= into the socket unit"
                    }
                    _ => "leave it out: it is for the file of a unix socket",
                };
                self.error(
                    &text.span,
                    format_args!("bind: {key} has no effect on {addr}"),
                    help.to_owned(),
                );
            }
        }
        if let Some(text) = &table.mode {
            match u32::from_str_radix(text, 8) {
                Ok(mode) if mode <= 0o777 && text.bytes().all(|byte| byte.is_ascii_digit()) => access.mode = mode,
                _ => self.error(
                    &text.span,
                    format_args!("bind: mode {:?} is not a mode of a file", text.value),
                    "write it in octal: `0660` lets the owner and the group connect, `0666` everybody".to_owned(),
                ),
            }
        }
        if let Some(text) = &table.owner {
            let (user, group) = text
                .split_once(':')
                .map_or((text.as_str(), None), |(user, group)| (user, Some(group)));
            if group == Some("") || (user.is_empty() && group.is_none()) {
                let message = format!("bind: owner {:?} is no user and no group", text.value);
                self.error(
                    &text.span,
                    message,
                    "write `USER`, `USER:GROUP` or `:GROUP`".to_owned(),
                );
                return access;
            }
            if !user.is_empty() {
                access.user = self.number(text, "user", user, USERS, files);
            }
            access.group = group.and_then(|group| self.number(text, "group", group, GROUPS, files));
        }
        access
    }

    /// The number of a user or group.
    fn number(
        &mut self,
        at: &Spanned<String>,
        kind: &str,
        name: &str,
        table: &str,
        files: &mut Files,
    ) -> Option<u32> {
        // The last number stands for "unchanged" in chown(2).
        if let Some(number) = name.parse().ok().filter(|number| *number != u32::MAX) {
            return Some(number);
        }
        let number = files
            .read(Path::new(table))
            .ok()
            .and_then(|bytes| find(&String::from_utf8_lossy(&bytes), name));
        if number.is_none() {
            let help = format!("write the number of a {kind} that is not in that file");
            self.error(
                &at.span,
                format_args!("bind: owner: there is no {kind} {name:?} in {table}"),
                help,
            );
        }
        number
    }
}

/// The number in a table as passwd(5) and group(5) have it: both have it third.
fn find(table: &str, name: &str) -> Option<u32> {
    let mut entries = table.lines().map(|line| line.split(':'));
    entries.find_map(|mut fields| {
        if fields.next()? == name {
            fields.nth(1)?.parse().ok()
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_up_as_a_whole() {
        let table = "root:x:0:0:root:/root:/bin/sh\nhaproxy:x:107:112::/run:/bin/false\n";
        assert_eq!(find(table, "haproxy"), Some(107));
        assert_eq!(find(table, "ha"), None);
        assert_eq!(find("snigate:x:113:a,b\n", "snigate"), Some(113));
    }
}
