//! Listeners, as connections meet them.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::addr::{ListenAddr, Sender};
use crate::proxy::counts::ConnectionCounts;
use crate::proxy::limits::Limits;
use crate::proxy::route::Route;
use crate::route::Table;

/// What the connections of one listener meet. Immutable: a reload makes a new one.
#[derive(Debug)]
pub struct Listener {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// From accept to the whole ClientHello.
    pub hello_timeout: Duration,
    /// From these addresses a connection must begin with a PROXY header, and from no others.
    pub proxies: Box<[Sender]>,
    /// Whether each connection is logged when it ends.
    pub access_log: bool,
    /// How many connections it takes.
    pub limits: Limits,
    /// What is counted for that.
    pub counts: Arc<ConnectionCounts>,
    /// Which route takes which client.
    pub routes: Arc<Table<Arc<Route>>>,
}

/// A listening socket, and the listener that it serves at the moment.
#[derive(Debug)]
pub struct Port {
    /// The address, with the port that the kernel chose where the configuration says 0.
    pub addr: ListenAddr,
    /// What the next hello meets, whenever its connection was accepted.
    pub listener: ArcSwap<Listener>,
}
