//! Sockets: a byte stream of any kind behind one type, what is asked of the kernel to get one, and
//! of DNS before that.

mod close;
mod cold;
mod connect;
mod eyeballs;
mod inherited;
mod listen;
mod liveness;
mod proc_tcp;
pub(crate) mod random;
pub mod resolve;
mod scratch;
pub(crate) mod sockopt;
mod stream;
mod taken;
mod transparent;
mod transport;
mod unix;
mod zone;

pub use close::{LINGER, close_in_order};
pub use cold::cold;
pub use connect::{Via, connect};
pub use inherited::{Inherited, InheritedError};
pub use listen::{
    AcceptFailure, BoundSocket, DEFERRED, ListenSocket, SharedSocket, has_unready, interface,
    listen_tcp, raise_open_files,
};
pub use liveness::Liveness;
pub use resolve::Resolver;
pub use scratch::{SCRATCH, with_scratch};
pub use stream::{Stream, TlsSession};
pub use taken::listens_on;
pub use transparent::probe_transparent;
pub use transport::Transport;
pub use unix::{Access, SocketFile, Spot};
pub use zone::locate;
