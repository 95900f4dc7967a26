//! Control of a running process: what can be asked of it, and what it can be told to do, as values.
//!
//! An action is a [`Command`], which the main loop obeys; a signal, the command line and an
//! administrator's page all say the same value. A question is answered from what any thread may
//! read, or by the main loop where only that knows. Nothing here touches a socket of a connection,
//! or holds a lock that the data plane waits for.

mod connection;
mod handle;
mod status;

pub use connection::{ConnectionStatus, Filter, IdentityStatus};
pub use handle::{Answer, Command, Handle, Order, Orders, Stopped, channel};
pub use status::{
    ConnectionCountsStatus, ListenerStatus, ServerStatus, State, Status, UpstreamStatus,
};
