//! Servers of an upstream, and how they are checked, as a configuration file has them.

use crate::config::file::{self, EjectionTable, HealthTable, ServerTable, Short, Spanned};
use crate::config::show::value::duration;
use crate::upstream::{self, Ejection, HealthCheck, ServerOptions};

pub(in crate::config) fn server(
    server: &ServerOptions,
    balance: upstream::Balance,
) -> file::Server {
    let ServerOptions {
        addr,
        weight,
        max_connections,
        backup,
    } = server;
    Short::Table(Box::new(ServerTable {
        address: Some(Spanned::from(addr.to_string())),
        weight: (balance != upstream::Balance::First || *weight == 0)
            .then(|| Spanned::from(u64::from(*weight))),
        max_connections: max_connections.map(|limit| Spanned::from(u64::from(limit.get()))),
        backup: Some(*backup),
    }))
}

pub(super) fn ejection(ejection: &Ejection) -> file::Ejection {
    let Ejection {
        failures,
        time,
        max_time,
        max_percent,
    } = ejection;
    Short::Table(Box::new(EjectionTable {
        failures: Some(Spanned::from(u64::from(*failures))),
        time: duration(*time),
        max_time: duration(*max_time),
        max_percent: Some(Spanned::from(u64::from(*max_percent))),
    }))
}

pub(super) fn health(health: &HealthCheck) -> file::Health {
    let HealthCheck {
        kind,
        interval,
        timeout,
        rise,
        fall,
    } = health;
    Short::Table(Box::new(HealthTable {
        kind: Some(Spanned::from(*kind)),
        interval: duration(*interval),
        timeout: duration(*timeout),
        rise: Some(Spanned::from(u64::from(*rise))),
        fall: Some(Spanned::from(u64::from(*fall))),
    }))
}
