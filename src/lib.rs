//! snigate, a TLS-passthrough layer-4 reverse proxy: it reads the ClientHello, routes by server
//! name, and either passes the bytes on untouched or terminates TLS and requires a client
//! certificate.
//!
//! # Lexicon
//!
//! * client: what connects to snigate
//! * server: what snigate connects to: one address of an upstream
//! * upstream: the servers of a route, and how they are balanced, checked and verified
//! * listener: where snigate accepts connections, and the limits there
//! * hello: the ClientHello, TLS's first message, by which a connection is routed
//! * route: which clients go where, by name, source and protocol
//! * connection: one of a client, from accept to its line of the access log
//! * pending connection: a connection that no route has taken yet
//! * session: an established TLS session, with a client or with a server
//! * session ticket: what a client keeps to resume a session
//! * identity: what a client is, as its verified certificate states
//! * policy: which verified clients are admitted
//! * trust store: the CAs that a certificate is verified against
//! * materials: the files of the configuration: certificates, keys, CAs, revocation lists, pins
//! * load balancing: which server of an upstream a connection tries first
//! * sticky by client address: load balancing that leads an address to the same server
//! * failover: the next server is tried when one cannot be reached
//! * health check: an active probe of a server, by TCP or TLS, at an interval
//! * ejection: a pause for a server to which connections failed (passive health check)
//! * capacity: the connections that a server may have at a time
//! * lease: a connection's share of a server's capacity, given back when the connection ends
//! * wait queue: the connections that wait for capacity, in the order in which they came
//! * relay: moving bytes between client and server until both directions have ended
//! * keep-alive: the kernel's probes of a silent peer
//! * rate limit: how often one source may connect
//! * outcome: how a connection ended, in one word
//! * access log: one line per connection, written when it ends
//! * drain: the time in which open connections may end by themselves, at a stop or a removed route
//! * graceful shutdown: a stop that accepts no more and drains what is open
//!
//! # The order of modules
//!
//! A module uses only modules that stand earlier in this line; `tests/layers.rs` reads it and fails
//! on any other path.
//!
//! ```text
//! name < os < addr < wire < route < authz < rate < x509 < pki < telemetry < storage < net < relay < tls < upstream < proxy < config < control < daemon < cli
//! ```

#![cfg_attr(not(test), deny(clippy::too_many_lines))]

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
