//! Listening addresses, as a configuration file has them.

use crate::addr::ListenAddr;
use crate::config::file::{self, Spanned};
use crate::config::model::Bind;
use crate::net::Access;

pub(super) fn binds(all: &[Bind]) -> file::Binds {
    let text = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
    let shown = |Bind {
                     addr,
                     access: Access { mode, user, group },
                 }: &Bind| {
        let address = Some(Spanned::from(addr.to_string()));
        let table = match addr {
            ListenAddr::Unix(_) => {
                let owner = match group {
                    Some(group) => Some(format!("{}:{group}", text(*user))),
                    None => user.map(|user| user.to_string()),
                };
                let mode = Some(Spanned::from(format!("{mode:04o}")));
                file::BindTable {
                    address,
                    mode,
                    owner: owner.map(Spanned::from),
                    v6only: None,
                }
            }
            ListenAddr::DualStack(_) => file::BindTable {
                address,
                v6only: Some(Spanned::from(false)),
                ..file::BindTable::default()
            },
            ListenAddr::Tcp(_) | ListenAddr::Zoned(_) | ListenAddr::Systemd(_) => {
                return Spanned::from(file::Bind::Address(addr.to_string()));
            }
        };
        Spanned::from(file::Bind::Table(Box::new(table)))
    };
    file::OneOrMany(all.iter().map(shown).collect())
}
