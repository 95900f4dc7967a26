//! Questions to a source of names, and its answers.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::net::resolve::ServiceTarget;

/// The source of answers.
pub(super) trait AnswerSource: Send + Sync + 'static {
    fn ask(&self, question: &Question)
    -> impl Future<Output = Result<Answer, QueryFailure>> + Send;
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) name: Arc<str>,
    pub(super) kind: RecordKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum RecordKind {
    /// Addresses of IPv4.
    V4,
    /// Addresses of IPv6.
    V6,
    /// Addresses of both.
    Both,
    /// The hosts that provide a service.
    Services,
}

impl RecordKind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::V4 => "A",
            Self::V6 => "AAAA",
            Self::Both => "A and AAAA",
            Self::Services => "SRV",
        }
    }
}

/// An answer, and for how long it holds, if its source said so.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) records: Records,
    pub(super) ttl: Option<Duration>,
}

/// The records of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Records {
    Addresses(Arc<[IpAddr]>),
    Services(Arc<[ServiceTarget]>),
    /// There is nothing of this kind.
    Missing,
}

/// Why there is no answer: nothing is known then, not even that there is no such name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum QueryFailure {
    #[error("no DNS server answered in time")]
    Late,
    #[error("the DNS server {0} cannot answer: {1}")]
    NameServer(std::net::SocketAddr, Arc<str>),
    #[error("{0}")]
    System(Arc<str>),
    #[error("looking it up came to no end")]
    Aborted,
}
