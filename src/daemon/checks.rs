//! The tasks of active health checks.

use std::collections::{HashMap, HashSet};

use tokio::task::{AbortHandle, JoinSet};

use crate::upstream::{Check, CheckKey};

/// One task for each server that is to be checked. They end when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Checks {
    tasks: JoinSet<()>,
    running: HashMap<CheckKey, AbortHandle>,
}

impl Checks {
    /// From now on these servers are checked, and no others. A check that runs already goes on.
    pub(super) fn set(&mut self, checks: Vec<Check>) {
        // Those that were ended before.
        while self.tasks.try_join_next().is_some() {}
        let wanted: HashSet<&CheckKey> = checks.iter().map(Check::key).collect();
        self.running.retain(|key, task| {
            let stays = wanted.contains(key);
            if !stays {
                task.abort();
            }
            stays
        });
        for check in checks {
            if self
                .running
                .get(check.key())
                .is_none_or(AbortHandle::is_finished)
            {
                let key = check.key().clone();
                self.running.insert(key, self.tasks.spawn(check.run()));
            }
        }
    }

    /// Ends all of them, and waits until they have ended.
    pub(super) async fn stop(&mut self) {
        self.running.clear();
        self.tasks.shutdown().await;
    }
}
