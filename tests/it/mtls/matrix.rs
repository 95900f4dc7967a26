//! Every kind of client on every mode of client authentication: the verdict, the alert, the log,
//! and that nobody who was refused reaches a server.

use rcgen::SanType;
use rcgen::string::Ia5String;

use super::revocation::revoke;
use super::*;
use crate::support::openssl::s_client;
use crate::support::tls::client_named;

/// A kind of client, and what becomes of it where certificates are verified.
struct Kind {
    name: &'static str,
    shown: Option<Issued>,
    refused: Option<Refused>,
}

/// How a client is refused: what it sees, and what the log says.
#[derive(Clone, Copy)]
struct Refused {
    alert: u8,
    outcome: &'static str,
    detail: &'static str,
}

fn refused(alert: u8, outcome: &'static str, detail: &'static str) -> Option<Refused> {
    Some(Refused {
        alert,
        outcome,
        detail,
    })
}

/// The kinds, each with a certificate (except of the first) whose common name is the kind's.
fn kinds(site: &Site) -> Vec<Kind> {
    let strangers = Authority::new("strangers", Validity::days(20)).unwrap();
    let days = Validity::days(20);
    let hour = |offset: i64| {
        let length = Duration::from_secs(offset.unsigned_abs() * 3600);
        if offset < 0 {
            SystemTime::now() - length
        } else {
            SystemTime::now() + length
        }
    };
    let between = |from, to| Validity {
        not_before: hour(from),
        not_after: hour(to),
    };
    let of = |name, validity| Some(site.clients.client(name, validity).unwrap());
    let untrusted = |alert, detail| refused(alert, "untrusted_certificate", detail);
    vec![
        Kind {
            name: "nobody",
            shown: None,
            refused: refused(116, "no_certificate", ""),
        },
        Kind {
            name: "stranger",
            shown: Some(strangers.client("stranger", days).unwrap()),
            refused: untrusted(48, "issued by none of the trusted CAs"),
        },
        Kind {
            name: "expired",
            shown: of("expired", between(-48, -1)),
            refused: untrusted(45, "has expired, 60 minutes ago"),
        },
        Kind {
            name: "early",
            shown: of("early", between(3, 48)),
            refused: untrusted(45, "is not valid before"),
        },
        Kind {
            name: "server",
            shown: Some(site.clients.server(&["server"], days).unwrap()),
            refused: untrusted(43, "does not include clientAuth"),
        },
        Kind {
            name: "revoked",
            shown: Some(site.revoked()),
            refused: refused(44, "revoked_certificate", "revoked"),
        },
        Kind {
            name: "unlisted",
            shown: of("unlisted", days),
            refused: refused(49, "not_allowed", "nothing in client_auth.allow names it"),
        },
        Kind {
            name: "denied",
            shown: of("denied", days),
            refused: refused(49, "not_allowed", "client_auth.deny.cn names it: denied"),
        },
        Kind {
            name: "member",
            shown: of("member", days),
            refused: None,
        },
    ]
}

/// A mode, with the lists that are used with it, under the name of its route.
struct Mode {
    name: &'static str,
    keys: &'static str,
}

const ALLOW: &str = "client_auth.allow = { cn = [\"member\", \"denied\"] }";

const MODES: [Mode; 6] = [
    Mode {
        name: "none",
        keys: "client_auth.mode = \"NoClientCert\"",
    },
    Mode {
        name: "request",
        keys: "client_auth.mode = \"request\"",
    },
    Mode {
        name: "require_any",
        keys: "client_auth.mode = \"RequireAnyClientCert\"",
    },
    Mode {
        name: "given",
        keys: "client_auth.mode = \"verify_if_given\"\nextends = \"base\"\nclient_auth.deny.cn = [\"denied\"]",
    },
    Mode {
        name: "given_listed",
        keys: "client_auth.mode = \"VerifyClientCertIfGiven\"\nextends = \"listed\"",
    },
    Mode {
        name: "required",
        keys: "client_auth.mode = \"require_and_verify\"\nextends = \"listed\"",
    },
];

impl Mode {
    fn server_name(&self) -> String {
        format!("{}.example", self.name)
    }

    /// What becomes of a client here.
    fn refuses(&self, kind: &Kind) -> Option<Refused> {
        let is_nobody = kind.shown.is_none();
        match self.name {
            "none" | "request" => None,
            "require_any" => kind.refused.filter(|_| is_nobody),
            "given" => kind
                .refused
                .filter(|_| !is_nobody && kind.name != "unlisted"),
            "given_listed" | "required" => kind.refused,
            other => panic!("{other} has no verdicts"),
        }
    }

    /// Whether certificates are asked for, and whether they are verified.
    fn asks(&self) -> (bool, bool) {
        (self.name != "none", self.keys.contains("extends"))
    }
}

/// One route for each mode, and its directory.
fn every_mode(backend: &Backend) -> (Site, Proxy) {
    let (site, dir) = site();
    let names = MODES.map(|mode| mode.server_name());
    let names = names.each_ref().map(String::as_str);
    write(
        dir.path(),
        "site",
        &site.servers.server(&names, Validity::days(20)).unwrap(),
    );
    revoke(dir.path(), &site.clients, "clients", &[&site.revoked]);
    let mut config = format!(
        "[certificates.site]\ncert_file = \"site.pem\"\nkey_file = \"site-key.pem\"\n\
         [tls.base]\nclient_auth.ca_files = [\"clients.pem\"]\nclient_auth.crl_files = [\"clients.crl\"]\n\
         [tls.listed]\nextends = \"base\"\n{ALLOW}\nclient_auth.deny = {{ cn = [\"denied\"] }}\n"
    );
    for mode in &MODES {
        let (name, keys, upstream) = (mode.name, mode.keys, backend.addr);
        config += &format!(
            "[tls.{name}]\n{keys}\n[routes.{name}]\nsni = \"{name}.example\"\naction = \"terminate\"\ntls = \"{name}\"\n\
             upstream = \"{upstream}\"\n"
        );
    }
    (site, Proxy::start_in(dir, &config))
}

/// The access line of a client of this kind.
fn assert_told(line: &Value, mode: &Mode, kind: &Kind, row: &str) {
    let refused = mode.refuses(kind);
    assert_eq!(
        line["outcome"],
        refused.map_or("closed", |refused| refused.outcome),
        "{row}: {line}"
    );
    assert_eq!(line["route"], mode.name, "{row}: {line}");
    assert_eq!(line["server"].is_null(), refused.is_some(), "{row}: {line}");
    if let Some(Refused { detail, .. }) = refused {
        assert_eq!(line["by"], "client", "{row}: {line}");
        assert!(
            line["detail"].as_str().unwrap_or_default().contains(detail),
            "{row}: {line}"
        );
    }
    let (asked, verified) = mode.asks();
    match kind.shown.as_ref().filter(|_| asked) {
        None => {
            assert_eq!(line["client_cert"], Value::Null, "{row}: {line}");
            assert_eq!(line["client_cert_verified"], Value::Null, "{row}: {line}");
        }
        Some(issued) => {
            assert_eq!(
                line["client_cert"],
                format!("CN={}", kind.name),
                "{row}: {line}"
            );
            assert_eq!(
                line["client_cert_verified"],
                verified && refused.is_none(),
                "{row}: {line}"
            );
            let issuer = if kind.name == "stranger" {
                "CN=strangers"
            } else {
                "CN=clients"
            };
            assert_eq!(line["client_cert_issuer"], issuer, "{row}: {line}");
            assert_eq!(
                line["client_cert_sha256"],
                fingerprint(issued),
                "{row}: {line}"
            );
            assert!(line["client_cert_serial"].is_string(), "{row}: {line}");
        }
    }
}

#[test]
fn every_kind_of_client_meets_its_verdict_in_every_mode() {
    let backend = Backend::echo();
    let (site, mut proxy) = every_mode(&backend);
    let mut sessions = 0;
    for kind in &kinds(&site) {
        for mode in &MODES {
            for (version, word) in VERSIONS.into_iter().zip(["1.2", "1.3"]) {
                let row = format!("{}, {}, TLS {word}", kind.name, mode.name);
                let config = site.client(kind.shown.as_ref(), version);
                let answer = tls::exchange(
                    &config,
                    &mode.server_name(),
                    proxy.connect(),
                    b"the question",
                );
                let line = proxy.next_access();
                match (answer, mode.refuses(kind)) {
                    (Ok(answer), None) => {
                        assert_eq!(answer, b"the question", "{row}");
                        assert_eq!(line["tls_version"], word, "{row}");
                        sessions += 1;
                    }
                    (Err(error), Some(refused)) => {
                        assert_eq!(alert(&error), Some(refused.alert), "{row}: {error}")
                    }
                    (answer, _) => panic!("{row}: {answer:?}"),
                }
                assert_told(&line, mode, kind, &row);
                // Connections reach it in order: one made for a client that was refused would be
                // counted with the next.
                assert_eq!(backend.accepted(), sessions, "{row}");
            }
        }
    }
}

#[test]
fn a_foreign_client_meets_the_same_verdicts() {
    let backend = Backend::greet(b"welcome inside");
    let (site, mut proxy) = every_mode(&backend);
    let mut sessions = 0;
    for kind in &kinds(&site) {
        let shown = kind.shown.as_ref().map(|issued| {
            write(proxy.dir(), "shown", issued);
            ["shown.pem", "shown-key.pem"]
                .map(|file| proxy.dir().join(file).to_str().unwrap().to_owned())
        });
        for mode in MODES
            .iter()
            .filter(|mode| ["require_any", "required"].contains(&mode.name))
        {
            for version in ["-tls1_2", "-tls1_3"] {
                let row = format!("{}, {}, {version}", kind.name, mode.name);
                let name = mode.server_name();
                let mut arguments = vec!["-servername", &name, version];
                if let Some([certificate, key]) = &shown {
                    arguments.extend(["-cert", certificate, "-key", key]);
                }
                let printed = s_client(proxy.addr(), &arguments);
                let refused = mode.refuses(kind);
                assert_eq!(
                    printed.alert(),
                    refused.map(|refused| refused.alert),
                    "{row}: {}",
                    printed.0
                );
                assert_eq!(
                    printed.0.contains("welcome inside"),
                    refused.is_none(),
                    "{row}: {}",
                    printed.0
                );
                assert_told(&proxy.next_access(), mode, kind, &row);
                sessions += usize::from(refused.is_none());
                assert_eq!(backend.accepted(), sessions, "{row}");
            }
        }
    }
}

#[test]
fn the_table_of_outcomes_names_the_alert_of_every_verdict() {
    let (site, _dir) = site();
    let text = include_str!("../../../docs/reference/access-log.md");
    for Refused { alert, outcome, .. } in kinds(&site).iter().filter_map(|kind| kind.refused) {
        let row = text
            .lines()
            .find(|line| line.starts_with(&format!("| `{outcome}` |")))
            .expect("a row");
        // Of a fault in a certificate it names the common ones.
        assert!(
            row.contains(&format!("({alert})")) || alert == 43,
            "{alert} is not in: {row}"
        );
    }
}

#[test]
fn no_mode_that_asks_for_a_certificate_resumes_a_session() {
    let backend = Backend::echo();
    let (site, proxy) = every_mode(&backend);
    let member = site.member();
    for mode in &MODES {
        for version in VERSIONS {
            let config = site.client(Some(&member), version);
            let mut kinds = Vec::new();
            for _ in 0..2 {
                let mut session = tls::session(&config, &mode.server_name(), proxy.connect());
                std::io::Write::write_all(&mut session, b"x").unwrap();
                session.conn.send_close_notify();
                std::io::Read::read_to_end(&mut session, &mut Vec::new()).unwrap();
                kinds.push((
                    session.conn.handshake_kind().unwrap(),
                    session.conn.tls13_tickets_received(),
                ));
            }
            let resumed = kinds[1].0 == rustls::HandshakeKind::Resumed;
            assert_eq!(resumed, mode.name == "none", "{}: {kinds:?}", mode.name);
            assert!(
                resumed || kinds.iter().all(|(_, tickets)| *tickets == 0),
                "{}: {kinds:?}",
                mode.name
            );
        }
    }
}

#[test]
fn whoever_shows_a_certificate_without_having_its_key_comes_in_nowhere() {
    let backend = Backend::echo();
    let (site, mut proxy) = every_mode(&backend);
    let [member, thief] =
        ["member", "thief"].map(|name| site.clients.client(name, Validity::days(20)).unwrap());
    let stolen = Issued {
        certificate: member.certificate,
        key: thief.key,
    };
    for mode in MODES.iter().filter(|mode| mode.asks().0) {
        for version in VERSIONS {
            let row = format!("{}, {:?}", mode.name, version.version);
            let config = site.client(Some(&stolen), version);
            let error =
                tls::exchange(&config, &mode.server_name(), proxy.connect(), b"x").unwrap_err();
            assert_eq!(alert(&error), Some(51), "decrypt_error; {row}: {error}");
            let line = proxy.next_access();
            assert_eq!(line["outcome"], "untrusted_certificate", "{row}: {line}");
            assert_eq!(line["client_cert"], "CN=member", "{row}: {line}");
            assert_eq!(line["client_cert_verified"], false, "{row}: {line}");
            assert!(
                line["detail"]
                    .as_str()
                    .unwrap()
                    .contains("has not proved that it has"),
                "{row}: {line}"
            );
        }
    }
    assert_eq!(backend.accepted(), 0);
}

#[test]
fn a_certificate_of_version_1_is_refused_even_where_nothing_is_verified() {
    let backend = Backend::echo();
    let (site, mut proxy) = every_mode(&backend);
    for mode in MODES.iter().filter(|mode| mode.asks().0) {
        for version in VERSIONS {
            let row = format!("{}, {:?}", mode.name, version.version);
            let config = client_with(&site.servers, Some(version_1(&site.clients)), &[version]);
            tls::exchange(&config, &mode.server_name(), proxy.connect(), b"x").unwrap_err();
            let line = proxy.next_access();
            assert_eq!(line["outcome"], "untrusted_certificate", "{row}: {line}");
            assert!(
                line["detail"]
                    .as_str()
                    .unwrap()
                    .contains("X.509 v1 certificate"),
                "{row}: {line}"
            );
        }
    }
    assert_eq!(backend.accepted(), 0);
}

#[test]
fn a_client_is_found_by_each_of_its_names_and_by_its_key() {
    let (site, dir) = site();
    let backend = Backend::echo();
    let ia5 = |text: &str| -> Ia5String { text.try_into().unwrap() };
    let web = client_named(
        &site.clients,
        ["web\nserver", "shop"],
        &[
            SanType::DnsName(ia5("web.clients.example")),
            SanType::URI(ia5("spiffe://example.net/web/1")),
            SanType::Rfc822Name(ia5("web@example.net")),
        ],
    );
    let other = client_named(
        &site.clients,
        ["other", "office"],
        &[SanType::DnsName(ia5("a.web.clients.example"))],
    );
    let (_, certificate) = x509_parser::parse_x509_certificate(&der(&web.certificate))
        .map(|(rest, certificate)| {
            (
                rest.len(),
                (
                    certificate.raw_serial_as_string(),
                    sha256(certificate.public_key().raw),
                ),
            )
        })
        .unwrap();
    let (serial, key) = certificate;
    let key = key.to_uppercase();
    let config = |list: &str, entry: &str| {
        format!(
            "{}\n[tls.listed]\nextends = \"mtls\"\nclient_auth.{list} = {{ {entry} }}\n",
            config(&backend, "listed", "")
        )
    };
    let entries = [
        "dns = \"*.clients.example\"".to_owned(),
        "uri = \"spiffe://example.net/web/*\"".to_owned(),
        "email = \"web@EXAMPLE.net\"".to_owned(),
        "cn = \"web\\nserver\"".to_owned(),
        "ou = \"shop\"".to_owned(),
        format!("spki_sha256 = \"{key}\""),
        format!("serial = \"{serial}\""),
    ];
    let [web, other] = [&web, &other].map(|issued| site.client(Some(issued), &TLS13));
    let mut proxy = Proxy::start_in(dir, &config("allow", &entries[0]));
    for entry in &entries {
        let kind = entry.split(' ').next().unwrap();
        proxy.reload(&format!("{}# {entry}\n", config("allow", entry)));
        assert_eq!(
            ask(&web, proxy.connect()).unwrap(),
            b"the question",
            "{entry}"
        );
        assert_eq!(
            proxy.next_access()["client_cert"],
            r"OU=shop,CN=web\0aserver"
        );
        assert_eq!(
            alert(&ask(&other, proxy.connect()).unwrap_err()),
            Some(49),
            "{entry}"
        );
        assert_eq!(proxy.next_access()["outcome"], "not_allowed", "{entry}");
        proxy.reload(&config("deny", entry));
        assert_eq!(
            alert(&ask(&web, proxy.connect()).unwrap_err()),
            Some(49),
            "{entry}"
        );
        let line = proxy.next_access();
        let detail = line["detail"].as_str().unwrap();
        assert!(
            detail.contains(&format!("client_auth.deny.{kind} names it")),
            "{entry}: {detail}"
        );
        assert_eq!(
            line["client_cert_san"],
            "dns:web.clients.example,uri:spiffe://example.net/web/1,email:web@example.net",
            "{line}"
        );
        assert!(ask(&other, proxy.connect()).is_ok(), "{entry}");
        proxy.next_access();
    }
}

#[test]
fn clients_that_are_refused_at_the_same_time_are_each_named_in_their_own_line() {
    let backend = Backend::echo();
    let (site, mut proxy) = every_mode(&backend);
    let names: Vec<String> = (0..24).map(|number| format!("client {number}")).collect();
    let issued: Vec<Issued> = names
        .iter()
        .map(|name| site.clients.client(name, Validity::days(20)).unwrap())
        .collect();
    let ports: Vec<u16> = std::thread::scope(|scope| {
        let refuse = |issued| {
            let config = site.client(Some(issued), &TLS13);
            let stream = proxy.connect();
            let port = stream.local_addr().unwrap().port();
            scope.spawn(move || {
                let error = tls::exchange(&config, "required.example", stream, b"x").unwrap_err();
                assert_eq!(alert(&error), Some(49), "{error}");
                port
            })
        };
        let threads: Vec<_> = issued.iter().map(refuse).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    for _ in &names {
        let line = proxy.next_access();
        let port: u16 = line["client"]
            .as_str()
            .unwrap()
            .rsplit(':')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        let at = ports
            .iter()
            .position(|own| *own == port)
            .expect("one of them");
        assert_eq!(line["client_cert"], format!("CN={}", names[at]), "{line}");
    }
}
