//! The names that a certificate is asked for, as they are given on the command line.

use std::net::IpAddr;

use anyhow::{Context, bail};
use clap::Args;

use crate::name::{NameError, NamePattern, ServerName};
use crate::pki::{Subject, fits_common_name};

#[derive(Debug, Args)]
pub(super) struct CertificateNames {
    /// Host names or wildcards such as *.example.net; the first becomes the common name, which may
    /// be any text for a client.
    #[arg(long = "name", value_name = "NAME", num_args = 1..)]
    names: Vec<String>,
    /// IP addresses.
    #[arg(long = "ip", value_name = "IP", num_args = 1..)]
    ips: Vec<IpAddr>,
    /// Mail addresses.
    #[arg(long = "email", value_name = "ADDRESS", num_args = 1.., value_parser = email)]
    emails: Vec<String>,
    /// URIs, such as spiffe://example.net/web.
    #[arg(long = "uri", value_name = "URI", num_args = 1.., value_parser = uri)]
    uris: Vec<String>,
}

impl CertificateNames {
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
            && self.ips.is_empty()
            && self.emails.is_empty()
            && self.uris.is_empty()
    }

    /// The subject that they make. A client's first name is a common name, and a host name only if
    /// it could be one.
    pub(super) fn subject(&self, is_client: bool) -> anyhow::Result<Subject> {
        if self.is_empty() {
            bail!("say for whom: --name, --ip, --email or --uri");
        }
        let mut dns = Vec::new();
        for (position, name) in self.names.iter().enumerate() {
            match name.parse::<NamePattern>() {
                Ok(NamePattern::Any) => {
                    bail!("--name '*': a wildcard stands for one label, as in *.example.net")
                }
                Ok(pattern) => dns.push(pattern),
                Err(NameError::IpAddress) => {
                    bail!("--name {name}: an IP address is given with --ip")
                }
                Err(_) if is_client && position == 0 => {}
                Err(error) => return Err(error).with_context(|| format!("--name {name:?}")),
            }
        }
        let ips = self.ips.iter().map(ToString::to_string);
        let first = self
            .names
            .iter()
            .cloned()
            .chain(ips)
            .chain(self.emails.iter().cloned())
            .next();
        // As a certificate of a server has it: RFC 9525 §2 looks at subjectAltName alone.
        let common_name = match first {
            Some(name) if is_client || fits_common_name(&name) => name,
            _ => String::new(),
        };
        Ok(Subject {
            common_name,
            dns,
            ips: self.ips.clone(),
            emails: self.emails.clone(),
            uris: self.uris.clone(),
        })
    }
}

/// The name of the files of a certificate: its first name, with what could be misread in a path
/// replaced.
pub(super) fn stem(subject: &Subject) -> anyhow::Result<String> {
    let first = [
        subject.dns.first().map(ToString::to_string),
        Some(subject.common_name.clone()).filter(|name| !name.is_empty()),
        subject.ips.first().map(ToString::to_string),
    ];
    let first = first
        .into_iter()
        .flatten()
        .next()
        .context("say how the files are named, with --out")?;
    let first = match first.strip_prefix("*.") {
        Some(suffix) => format!("wildcard.{suffix}"),
        None => first,
    };
    let stem: String = first
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '@') {
                c
            } else {
                '_'
            }
        })
        .collect();
    Ok(if stem.starts_with(['.', '-']) {
        format!("_{stem}")
    } else {
        stem
    })
}

fn email(text: &str) -> Result<String, String> {
    let sound = text.split_once('@').is_some_and(|(local, host)| {
        let local_is_sound =
            !local.is_empty() && local.bytes().all(|b| b.is_ascii_graphic() && b != b'@');
        local_is_sound && host.parse::<ServerName>().is_ok()
    });
    if sound {
        Ok(text.to_owned())
    } else {
        Err("a mail address looks like user@example.net".to_owned())
    }
}

/// RFC 3986 §3.1: a scheme, a colon, and what follows, in ASCII.
fn uri(text: &str) -> Result<String, String> {
    let sound = text.split_once(':').is_some_and(|(scheme, rest)| {
        let begins = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
        let goes_on = scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        begins && goes_on && !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic())
    });
    if sound {
        Ok(text.to_owned())
    } else {
        Err("a URI looks like spiffe://example.net/web".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> CertificateNames {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        CertificateNames {
            names,
            ips: Vec::new(),
            emails: Vec::new(),
            uris: Vec::new(),
        }
    }

    #[test]
    fn the_first_name_is_the_common_name_unless_it_is_too_long_for_one() {
        let subject = names(&["A.Example", "*.b.example"]).subject(false).unwrap();
        assert_eq!(subject.common_name, "A.Example");
        assert_eq!(
            subject
                .dns
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            ["a.example", "*.b.example"]
        );
        let long = format!("{}.{}.example", "a".repeat(40), "b".repeat(40));
        assert_eq!(names(&[&long]).subject(false).unwrap().common_name, "");
    }

    #[test]
    fn only_a_clients_first_name_may_be_any_text() {
        assert_eq!(
            names(&["Ada Lovelace"]).subject(true).unwrap(),
            Subject::common_name("Ada Lovelace")
        );
        for (list, is_client, expected) in [
            (
                &["Ada Lovelace"][..],
                false,
                "cannot stand in a server name",
            ),
            (
                &["ada", "Ada Lovelace"],
                true,
                "cannot stand in a server name",
            ),
            (&["192.0.2.1"], false, "with --ip"),
            (&["*"], true, "stands for one label"),
            (&["a.*.example"], false, "wildcard"),
            (&[], true, "say for whom"),
        ] {
            let error = format!("{:#}", names(list).subject(is_client).unwrap_err());
            assert!(error.contains(expected), "{list:?}: {error}");
        }
    }

    #[test]
    fn files_are_named_after_the_first_name() {
        let of = |list: &[&str], is_client| stem(&names(list).subject(is_client).unwrap()).unwrap();
        assert_eq!(of(&["a.example", "b.example"], false), "a.example");
        assert_eq!(of(&["*.a.example"], false), "wildcard.a.example");
        assert_eq!(of(&["../../etc/x y"], true), "_.._.._etc_x_y");
        let ip = CertificateNames {
            ips: vec!["::1".parse().unwrap()],
            ..names(&[])
        };
        assert_eq!(stem(&ip.subject(false).unwrap()).unwrap(), "__1");
        let uri = CertificateNames {
            uris: vec!["urn:x".to_owned()],
            ..names(&[])
        };
        assert!(stem(&uri.subject(false).unwrap()).is_err());
    }

    #[test]
    fn what_is_no_address_and_no_uri_is_refused() {
        for text in ["a@example.net", "a.b+c@x"] {
            assert!(email(text).is_ok(), "{text}");
        }
        for text in ["", "a", "@x", "a@", "a b@x", "a@b@c", "ä@x", "a@x y"] {
            assert!(email(text).is_err(), "{text}");
        }
        for text in ["spiffe://example.net/web", "urn:uuid:1", "https://a/?b#c"] {
            assert!(uri(text).is_ok(), "{text}");
        }
        for text in ["", "a", ":x", "1a:b", "a:", "a: b", "ä:b", "a/b:c"] {
            assert!(uri(text).is_err(), "{text}");
        }
    }
}
