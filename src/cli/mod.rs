//! The command line: one file per command.

mod check;
mod complete;
mod demo;
mod explain;
mod files;
mod pki;
mod run;
mod schema;
mod show;

use std::ffi::OsString;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::{Context, bail};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueHint};
use rustix::process::{DumpableBehavior, geteuid, set_dumpable_behavior};
use tokio::runtime::{Builder, Runtime};

use crate::config::diagnostic::{Diagnostic, Excerpt};
use crate::config::{Config, Variables};
use crate::os::words;

/// The end of `--help`: what scripts and units depend on.
const EXIT_CODES: &str = "Exit codes:
  0  it is done; `check`: snigate would start
  1  it cannot be done; `check`: snigate would not start
  2  the command line is not understood
  3  `run`: connections were cut at the end of the drain; `explain`: no route takes the client
  4  `check --strict`: snigate would start, and there is something to look at

Environment:
  SNIGATE_CONFIG  the configuration file where neither -c nor FILE names one
  NO_COLOR        set to anything, output is without colours";

/// A TLS-passthrough layer-4 reverse proxy.
#[derive(Debug, Parser)]
#[command(name = "snigate", version = env!("SNIGATE_VERSION"), about, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve.
    Run(ConfigPath),
    /// Say everything that is wrong with a configuration; exit 1 if snigate would not start with
    /// it.
    Check(check::Options),
    /// Say which route a client gets, and why; exit 3 if it gets none.
    Explain(explain::Options),
    /// Print the configuration with every default, inheritance and inclusion resolved.
    Show(show::Options),
    /// Run a working set-up with throw-away certificates, and say what to try against it.
    Demo,
    /// Make a private CA and certificates, and look at them.
    #[command(subcommand)]
    Pki(pki::PkiCommand),
    /// Print a JSON schema of the configuration file, for editors.
    Schema,
    /// Print a script with which a shell completes commands, options and files.
    Completions(complete::Options),
    /// Print the manual page.
    Man,
}

#[derive(Debug, Args)]
struct ConfigPath {
    /// The configuration file. Default: `$SNIGATE_CONFIG`, or else snigate.toml here, or else
    /// /etc/snigate/snigate.toml.
    #[arg(short = 'c', long = "config", value_name = "FILE", value_hint = ValueHint::FilePath)]
    path: Option<PathBuf>,
    /// The same as -c FILE.
    #[arg(value_name = "FILE", conflicts_with = "path", value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
}

impl ConfigPath {
    fn find(&self) -> anyhow::Result<PathBuf> {
        if let Some(path) = self.path.as_ref().or(self.file.as_ref()) {
            return Ok(path.clone());
        }
        if let Some(path) = std::env::var_os("SNIGATE_CONFIG").filter(|path| !path.is_empty()) {
            return Ok(path.into());
        }
        let here = Path::new("snigate.toml");
        if here.exists() {
            if geteuid().is_root()
                && let Some(who) = [Path::new("."), here].into_iter().find_map(who_else_writes)
            {
                bail!(
                    "root does not read ./snigate.toml by itself where {who}; name it with -c ./snigate.toml"
                );
            }
            return Ok(here.to_owned());
        }
        let installed = Path::new("/etc/snigate/snigate.toml");
        installed
            .exists()
            .then(|| installed.to_owned())
            .context("there is no snigate.toml here and no /etc/snigate/snigate.toml; name a file with -c FILE")
    }
}

/// The users beside root that can change the file at this path.
fn who_else_writes(path: &Path) -> Option<String> {
    let found = fs::metadata(path).ok()?;
    let path = if path == Path::new(".") {
        "the directory".to_owned()
    } else {
        format!("./{}", path.display())
    };
    match (found.uid(), found.gid(), found.mode()) {
        (user, ..) if user != 0 => Some(format!("{path} belongs to user {user}")),
        (_, _, mode) if mode & 0o002 != 0 => Some(format!("everybody can write to {path}")),
        (_, group, mode) if mode & 0o020 != 0 && group != 0 => {
            Some(format!("group {group} can write to {path}"))
        }
        _ => None,
    }
}

/// Runs the command that `arguments`, the program's name first, ask for.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Before a key is read: no core dump, and no other process of this user looks into the memory.
    // Where the kernel does not know it (seccomp), LimitCORE=0 is left.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // There is nowhere left to report to where this fails.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(2)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let result = match &cli.command {
        Command::Run(config) => run::run(config),
        Command::Check(options) => check::run(options),
        Command::Explain(options) => explain::run(options),
        Command::Show(options) => show::run(options),
        Command::Demo => demo::run(),
        Command::Pki(command) => pki::run(command),
        Command::Schema => schema::run(),
        Command::Completions(options) => complete::completions(options, Cli::command()),
        Command::Man => complete::man(Cli::command()),
    };
    result.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "snigate: {}", chain(&error));
        ExitCode::FAILURE
    })
}

/// The causes of an error, from the command down to what the system said, each once: some errors
/// have their cause in their words.
fn chain(error: &anyhow::Error) -> String {
    let said = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref()
            .map_or_else(|| cause.to_string(), |error| words(error).to_string())
    };
    error
        .chain()
        .map(said)
        .fold(String::new(), |all, cause| match () {
            () if all.is_empty() => cause,
            () if all.ends_with(&cause) => all,
            () => format!("{all}: {cause}"),
        })
}

/// Loads a configuration for a command that shows something of it.
fn load(config: &ConfigPath) -> anyhow::Result<(Config, Variables)> {
    let path = config.find()?;
    let loaded = crate::config::load(&path);
    let Some(config) = loaded.config else {
        print_diagnostics(
            &mut io::stderr(),
            colors(&io::stderr()),
            &loaded.diagnostics,
        );
        bail!("{} is not valid", path.display());
    };
    Ok((config, loaded.variables))
}

fn print_diagnostics(out: &mut impl Write, color: bool, diagnostics: &[Diagnostic]) {
    let excerpt = Excerpt::of(diagnostics);
    for diagnostic in &excerpt.shown {
        // A reader that went away (`| head`) needs no more of it.
        let _ = writeln!(out, "{}\n", diagnostic.render(color));
    }
    if let Some(shown) = excerpt.left_out() {
        let _ = writeln!(out, "{shown} are shown\n");
    }
}

/// Whether what goes to `stream` may have colours: it is a terminal, and `NO_COLOR` is not set
/// (<https://no-color.org>).
fn colors(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes to standard output. A reader that went away is not an error.
fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// One thread for each processor that this process may use. With only one there is nobody to share
/// work with, and the runtime for that case has less to do for each event.
fn runtime() -> anyhow::Result<Runtime> {
    let processors = available_parallelism().map_or(1, usize::from);
    let mut builder = if processors == 1 {
        Builder::new_current_thread()
    } else {
        Builder::new_multi_thread()
    };
    builder
        .enable_all()
        .build()
        .context("cannot start the runtime")
}
