//! Sockets: a byte stream of any kind behind one type, and what is asked of the kernel to get one.

mod close;
mod connect;
mod inherited;
mod listen;
mod liveness;
mod scratch;
mod stream;
mod taken;
mod transparent;
mod transport;
mod unix;

pub use close::{LINGER, close_in_order};
pub use connect::{connect, connect_from};
pub use inherited::{Inherited, InheritedError};
pub use listen::{AcceptFailure, DEFERRED, ListenSocket, has_unready, listen_tcp, raise_open_files};
pub use liveness::Liveness;
pub use scratch::{SCRATCH, with_scratch};
pub use stream::Stream;
pub use taken::listens_on;
pub use transparent::probe_transparent;
pub use transport::Transport;
pub use unix::{Access, SocketFile};
