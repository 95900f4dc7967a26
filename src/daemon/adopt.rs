//! Adoption of a configuration: the one way to serve one, at the start and at each reload.

use std::sync::Arc;

use tokio::task::spawn_blocking;
use tracing::info;

use crate::config::diagnostic::Diagnostic;
use crate::config::trust::Summary;
use crate::config::{Config, Made};
use crate::daemon::report::{log_trust, report, report_made};
use crate::daemon::{BindError, Daemon, Parts};
use crate::proxy::Connections;

/// The findings and files of a load of the configuration.
pub(super) struct Found<'a> {
    /// Warnings, and what clients will refuse.
    pub(super) diagnostics: &'a [Diagnostic],
    /// Self-signed certificates.
    pub(super) made: &'a [Made],
}

/// Serves `parts`, which are those of `config`, from now on: closes the connections that it no
/// longer lets go on, and logs what there is to say of it. `trust` are the stores of before.
///
/// # Errors
///
/// Every address that could not be bound. What was served before goes on then.
pub(super) fn adopt(
    server: &mut Daemon,
    parts: Parts,
    config: &Config,
    found: &Found<'_>,
    trust: &[Summary],
) -> Result<(), Vec<BindError>> {
    report_made(found.made);
    server.apply(parts)?;
    close(server.connections(), Connections::close_withdrawn);
    report(found.diagnostics);
    log_trust(trust, &config.trusts.summaries());
    server.report_unused();
    Ok(())
}

/// Closes connections that the configuration no longer lets go on. Not by the thread that loads:
/// its turn may be late where the processor is busy, and this is not to wait.
pub(super) fn close(
    connections: &Arc<Connections>,
    close: impl FnOnce(&Connections) -> usize + Send + 'static,
) {
    let connections = Arc::clone(connections);
    drop(spawn_blocking(move || {
        let closed = close(&connections);
        if closed > 0 {
            info!(
                closed,
                "closed connections that the configuration no longer lets go on"
            );
        }
    }));
}
