//! Names as the system resolves them: whatever nsswitch.conf(5) names.

use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::net::resolve::question::{Answer, AnswerSource, QueryFailure, Question, Records};
use crate::os::words;

/// Look-ups at a time. Each occupies a thread while the resolver is silent, and the runtime has 512
/// of them for everything.
const MAX_LOOKUPS: usize = 64;

/// How getaddrinfo(3) says that there is no such name, or that it has no address: of glibc, and of
/// musl.
const MISSING: [&str; 4] = [
    "Name or service not known",
    "No address associated with hostname",
    "Name does not resolve",
    "Name has no usable address",
];

/// getaddrinfo(3).
pub(super) struct System {
    permits: Arc<Semaphore>,
}

impl System {
    pub(super) fn new() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(MAX_LOOKUPS)),
        }
    }
}

impl AnswerSource for System {
    async fn ask(&self, question: &Question) -> Result<Answer, QueryFailure> {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| QueryFailure::Aborted)?;
        let name = Arc::clone(&question.name);
        // The thread has the permit: it goes on after everybody has stopped waiting for it.
        let look_up = spawn_blocking(move || {
            let _permit = permit;
            (&*name, 0)
                .to_socket_addrs()
                .map(|addresses| addresses.map(|addr| addr.ip()).collect())
        });
        let records = match look_up.await.map_err(|_| QueryFailure::Aborted)? {
            Ok(addresses) => Records::Addresses(addresses),
            Err(error) if is_missing(&error) => Records::Missing,
            Err(error) => return Err(QueryFailure::System(words(&error).to_string().into())),
        };
        Ok(Answer { records, ttl: None })
    }
}

/// The standard library keeps no more of the error than its text.
fn is_missing(error: &io::Error) -> bool {
    let text = error.to_string();
    MISSING.iter().any(|missing| text.ends_with(missing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::resolve::question::RecordKind;

    async fn ask(name: &str) -> Result<Records, QueryFailure> {
        let question = Question {
            name: name.into(),
            kind: RecordKind::Both,
        };
        System::new()
            .ask(&question)
            .await
            .map(|answer| answer.records)
    }

    #[tokio::test]
    async fn a_name_of_the_hosts_file_is_found() {
        let Ok(Records::Addresses(addresses)) = ask("localhost").await else {
            panic!("no addresses")
        };
        assert!(
            addresses.iter().all(|ip| ip.is_loopback()) && !addresses.is_empty(),
            "{addresses:?}"
        );
    }

    #[test]
    fn that_there_is_no_such_name_is_no_failure() {
        let error =
            |text: &str| io::Error::other(format!("failed to lookup address information: {text}"));
        assert!(is_missing(&error("Name or service not known")));
        assert!(!is_missing(&error("Temporary failure in name resolution")));
    }
}
