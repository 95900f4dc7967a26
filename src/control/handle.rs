//! Handle of a running process, and the commands that its main loop obeys.

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::control::connection::{ConnectionStatus, Filter};
use crate::control::status::Status;
use crate::proxy::Connections;

/// How many orders may wait for the main loop. Further senders wait for it.
const WAITING_ORDERS: usize = 16;

/// An order to a running process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Load everything, changed or not, and serve it if it is valid.
    Reload,
    /// Stop listening, and stop when every connection has ended or the time for it is over. A
    /// second time: stop at once.
    Drain,
    /// Close every connection that the filter chooses.
    Close(Box<Filter>),
}

/// The answer to a [`Command`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has begun.
    Begun,
    /// So many connections are closed.
    Closed(usize),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the process is stopping")]
pub struct Stopped;

/// An order to the main loop.
#[derive(Debug)]
pub enum Order {
    /// Something to do, and who waits for what comes of it.
    Do(Command, oneshot::Sender<Answer>),
    /// Something to tell.
    Tell(oneshot::Sender<Status>),
}

/// The orders that the main loop takes.
pub type Orders = mpsc::Receiver<Order>;

/// A handle of a running process. Clones are handles of the same one.
#[derive(Clone, Debug)]
pub struct Handle {
    orders: mpsc::Sender<Order>,
    connections: Arc<Connections>,
}

/// A handle, and the orders that come through it.
#[must_use]
pub fn channel(connections: &Arc<Connections>) -> (Handle, Orders) {
    let (sender, orders) = mpsc::channel(WAITING_ORDERS);
    let handle = Handle {
        orders: sender,
        connections: Arc::clone(connections),
    };
    (handle, orders)
}

impl Handle {
    /// Has the main loop do something.
    ///
    /// # Errors
    ///
    /// When the process is stopping and has no main loop any more.
    pub async fn run(&self, command: Command) -> Result<Answer, Stopped> {
        let (sender, answer) = oneshot::channel();
        self.order(Order::Do(command, sender)).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// The state of the process.
    ///
    /// # Errors
    ///
    /// Those of [`run`](Self::run).
    pub async fn status(&self) -> Result<Status, Stopped> {
        let (sender, status) = oneshot::channel();
        self.order(Order::Tell(sender)).await?;
        status.await.map_err(|_| Stopped)
    }

    /// The open connections that the filter chooses, the oldest first. The main loop has nothing to
    /// do with it; it takes a few microseconds a connection.
    #[must_use]
    pub fn list(&self, filter: &Filter) -> Vec<ConnectionStatus> {
        let mut found = self.connections.list();
        found.retain(|live| filter.matches(live));
        found.sort_unstable_by_key(|live| (live.record.accepted, live.record.id));
        found
            .iter()
            .map(|live| ConnectionStatus::of(live))
            .collect()
    }

    /// The open connection of this number.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<ConnectionStatus> {
        self.connections
            .get(id)
            .map(|live| ConnectionStatus::of(&live))
    }

    async fn order(&self, order: Order) -> Result<(), Stopped> {
        self.orders.send(order).await.map_err(|_| Stopped)
    }
}
