//! `[storage]`, `[log]` and `[timeouts]`, as a configuration file has them.

use crate::config::file::{self, Spanned};
use crate::config::model::{Config, Timeouts};
use crate::config::show::value::{absolute, duration, or_off};

impl Config {
    pub(in crate::config) fn storage_section(&self) -> file::Storage {
        file::Storage {
            dir: Some(Spanned::from(absolute(self.storage.dir()))),
        }
    }

    pub(in crate::config) fn log_section(&self) -> file::Log {
        let level = match self.log.level {
            tracing::Level::ERROR => file::Level::Error,
            tracing::Level::WARN => file::Level::Warn,
            tracing::Level::INFO => file::Level::Info,
            tracing::Level::DEBUG => file::Level::Debug,
            tracing::Level::TRACE => file::Level::Trace,
        };
        let format = self.log.format;
        file::Log {
            level: Some(level),
            format: Some(format),
            access: Some(self.access_log),
        }
    }
}

pub(in crate::config) fn timeouts(timeouts: &Timeouts) -> file::Timeouts {
    file::Timeouts {
        hello: duration(timeouts.hello),
        handshake: duration(timeouts.handshake),
        connect: duration(timeouts.connect),
        idle: or_off(timeouts.idle),
        half_close: or_off(timeouts.half_close),
        drain: duration(timeouts.drain),
        max_lifetime: or_off(timeouts.max_lifetime),
        keepalive: or_off(timeouts.liveness.keepalive),
        unacknowledged: or_off(timeouts.liveness.unacknowledged),
    }
}
