//! `snigate pki crl`

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use clap::Args;

use crate::cli::files::{self, NewFile, Readers};
use crate::cli::pki::{CaOptions, read};
use crate::cli::print;
use crate::pki::{
    Authority, FileKind, REASONS, RevocationList, RevocationReason, Validity, parse_serial,
};

/// The list, beside the CA.
const CRL: &str = "ca.crl";

#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    #[command(flatten)]
    ca: CaOptions,
    /// Certificates, or their serial numbers in hexadecimal, of which nobody knows whether the CA
    /// has issued them: it keeps no register. Without any, the list is only made anew, for its
    /// dates.
    #[arg(long, value_name = "FILE|SERIAL", num_args = 1..)]
    revoke: Vec<String>,
    /// Why: unspecified, keyCompromise, CACompromise, affiliationChanged, superseded,
    /// cessationOfOperation, certificateHold, privilegeWithdrawn or AACompromise.
    #[arg(long, value_name = "REASON", value_parser = reason, requires = "revoke")]
    reason: Option<RevocationReason>,
    /// For how many days the list counts. Before they are over it must be made anew, and given to
    /// everybody who uses it.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=36500))]
    days: u64,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let authority = options.ca.load()?;
    // Two runs at once would each lose what the other revokes.
    let lock = File::open(&options.ca.dir).and_then(|dir| dir.lock().map(|()| dir));
    let _lock = lock.with_context(|| format!("cannot lock {}", options.ca.dir.display()))?;

    let path = options.ca.dir.join(CRL);
    let mut list = match path.exists() {
        true => RevocationList::load(&read(&path, "--dir", FileKind::List)?, &authority)
            .with_context(|| path.display().to_string())?,
        false => RevocationList::default(),
    };
    let (mut text, mut unknown) = (String::new(), Vec::new());
    for which in &options.revoke {
        let (serial, is_known) = serial(which, &authority)?;
        unknown.extend((!is_known).then_some(which.as_str()));
        let said = if list.revoke(&serial, options.reason) {
            "revoked"
        } else {
            "was revoked already"
        };
        text.push_str(&format!("{which}: {said}\n"));
    }
    let now = SystemTime::now();
    let validity = Validity {
        not_before: now,
        not_after: now + Duration::from_secs(options.days * 86400),
    };
    let pem = list.sign(&authority, validity)?;
    files::write(
        &[NewFile {
            path: &path,
            content: pem.as_bytes(),
            readers: Readers::Everybody,
        }],
        true,
    )?;
    if !unknown.is_empty() {
        // Nothing is kept of what was issued, so a slip of the pen would revoke no certificate, and
        // look as if it had.
        let _ = writeln!(
            io::stderr(),
            "warning: this CA keeps no register, so it cannot tell whether it has issued {}: compare with the serial number \
             that `snigate pki inspect` prints of the certificate, or the access line (client_cert_serial), or give --revoke \
             the certificate's file",
            unknown.join(", ")
        );
    }
    let (path, count, days) = (path.display(), list.len(), options.days);
    let unit = if days == 1 { "day" } else { "days" };
    print(&format!(
        "{text}wrote {path}  {count} revoked; make it anew within {days} {unit}\n"
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The serial number of a file, if there is one of that name, and otherwise the number itself; and
/// whether the CA is known to have issued a certificate with it.
fn serial(which: &str, authority: &Authority) -> anyhow::Result<(Vec<u8>, bool)> {
    let path = Path::new(which);
    if path.exists() {
        let serial = authority.serial_of(&read(path, "--revoke", FileKind::Certificate)?);
        return serial
            .map(|serial| (serial, true))
            .with_context(|| which.to_owned());
    }
    match parse_serial(which) {
        Some(serial) => Ok((serial, false)),
        None => bail!(
            "{which:?} is neither a file nor a serial number in hexadecimal, as `pki inspect` prints it"
        ),
    }
}

fn reason(text: &str) -> Result<RevocationReason, String> {
    let known = REASONS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text));
    known.map(|(_, reason)| *reason).ok_or_else(|| {
        let names: Vec<&str> = REASONS.iter().map(|(name, _)| *name).collect();
        format!("it is one of {}", names.join(", "))
    })
}
