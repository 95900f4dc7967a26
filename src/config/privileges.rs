//! Privileges that the kernel must grant the process that serves a configuration.

use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::load::Loaded;
use crate::net::probe_transparent;
use crate::os::words;

impl Loaded {
    /// Asks the kernel, for the process that is to serve the configuration: without what it needs
    /// there is none. Otherwise each connection would fail for itself.
    pub fn require_privileges(&mut self) {
        if self.report_privileges(Severity::Error) {
            self.config = None;
        }
    }

    /// Asks the kernel, for a process that only looks at the configuration: another one may serve
    /// it, as another user.
    pub fn mention_privileges(&mut self) {
        self.report_privileges(Severity::Warning);
    }

    /// Whether anything is missing.
    fn report_privileges(&mut self, severity: Severity) -> bool {
        let Some(config) = &self.config else {
            return false;
        };
        let upstreams = config
            .routes
            .iter()
            .filter_map(|route| route.action.upstream());
        let Some(upstream) = upstreams.into_iter().find(|upstream| upstream.transparent) else {
            return false;
        };
        let Err(error) = probe_transparent() else {
            return false;
        };
        let user = if severity == Severity::Warning {
            "this user"
        } else {
            "snigate"
        };
        let message = format!(
            "upstreams.{}: transparent = true needs the capability CAP_NET_RAW or CAP_NET_ADMIN, and {user} has neither ({})",
            upstream.name,
            words(&error)
        );
        // The one that allows less (capabilities(7)): the routes by which answers come back are not
        // snigate's to make.
        let help = "write `AmbientCapabilities=CAP_NET_RAW` in its systemd unit, and there the same in \
                    `CapabilityBoundingSet=`, or run `setcap cap_net_raw=+ep` on the program, beside CAP_NET_BIND_SERVICE \
                    where it has that";
        self.diagnostics
            .push(Diagnostic::new(severity, message).help(help.to_owned()));
        true
    }
}
