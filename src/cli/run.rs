//! `snigate run`

use std::io;
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::cli::{ConfigPath, colors, print_diagnostics, runtime};
use crate::daemon::{self, RunError, Stopped};
use crate::net::Inherited;

/// Connections had to be closed at the end of `drain`, or on a second signal. For systemd:
/// `SuccessExitStatus=3`.
const CUT: u8 = 3;

pub(super) fn run(config: &ConfigPath) -> anyhow::Result<ExitCode> {
    let path = config.find()?;
    // Before there are threads.
    let inherited = Inherited::take().context("cannot take the sockets that systemd has passed")?;
    let (shown, runtime) = (path.clone(), runtime()?);
    let ended = runtime.block_on(daemon::run(path, inherited));
    // Without waiting for threads that ask a resolver or a file system which does not answer.
    runtime.shutdown_background();
    match ended {
        Ok(Stopped::Drained) => Ok(ExitCode::SUCCESS),
        Ok(Stopped::Closed(_)) => Ok(ExitCode::from(CUT)),
        Err(RunError::Invalid(diagnostics)) => {
            print_diagnostics(&mut io::stderr(), colors(&io::stderr()), &diagnostics);
            bail!("not started: {} is not valid", shown.display())
        }
        Err(error) => Err(error.into()),
    }
}
