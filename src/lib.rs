//! snigate, a TLS-passthrough layer-4 reverse proxy: it reads the ClientHello, routes by server
//! name, and either passes the bytes on untouched or terminates TLS and requires a client
//! certificate.
//!
//! # The order of modules
//!
//! A module uses only modules that stand earlier in this line; `tests/layers.rs` reads it and fails
//! on any other path.
//!
//! ```text
//! name < os < addr < wire < route < authz < rate < x509 < pki < telemetry < storage < net < relay < tls < upstream < proxy < config < control < daemon < cli
//! ```

pub mod addr;
pub mod authz;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod name;
pub mod net;
pub mod os;
pub mod pki;
pub mod proxy;
pub mod rate;
pub mod relay;
pub mod route;
pub mod storage;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod wire;
pub mod x509;
