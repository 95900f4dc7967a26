//! Authorities change while clients connect all the time: nobody whose certificate is valid
//! notices.

use std::fs;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};

use super::*;
use crate::support::PATIENCE;

/// The sessions of a crowd that are waited for in each state of the authorities.
const SESSIONS: usize = 40;

/// Clients that connect, ask, and connect again, one of each version, until they are told to stop.
struct Crowd {
    sessions: Receiver<Result<(), String>>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Crowd {
    fn start(site: &Site, proxy: &Proxy, identity: &Issued) -> Self {
        let (sender, sessions) = channel();
        let stop = Arc::<AtomicBool>::default();
        let client = |version| {
            // One configuration for all sessions of a client, so that it would resume them if it
            // could.
            let (config, addr) = (site.client(Some(identity), version), proxy.addr());
            let (sender, stop) = (sender.clone(), Arc::clone(&stop));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let answer = TcpStream::connect(addr).and_then(|stream| {
                        stream.set_read_timeout(Some(PATIENCE))?;
                        ask(&config, stream)
                    });
                    let session = match answer {
                        Ok(answer) if answer == b"the question" => Ok(()),
                        other => Err(format!("{:?}: {other:?}", version.version)),
                    };
                    if sender.send(session).is_err() {
                        return;
                    }
                }
            })
        };
        let clients = VERSIONS.into_iter().map(client).collect();
        Self {
            sessions,
            stop,
            clients,
        }
    }

    /// Waits for sessions that end from now on. Not one since the last call may have failed.
    fn goes_on(&self, state: &str) {
        let passed: Vec<_> = self.sessions.try_iter().collect();
        let further =
            (0..SESSIONS).map(|_| self.sessions.recv_timeout(PATIENCE).expect("a session"));
        for session in passed.into_iter().chain(further) {
            assert_eq!(session, Ok(()), "{state}");
        }
    }

    /// Lets the clients end in peace.
    fn leaves(self, state: &str) {
        self.goes_on(state);
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().unwrap();
        }
        for session in self.sessions.try_iter() {
            assert_eq!(session, Ok(()), "{state}");
        }
    }
}

#[test]
fn authorities_are_rotated_under_load_and_no_valid_certificate_is_ever_refused() {
    let (site, dir) = site();
    let backend = Backend::echo();
    let next = Authority::new("next", Validity::days(20)).unwrap();
    let [of_old, of_next] = [&site.clients, &next]
        .map(|authority| authority.client("member", Validity::days(20)).unwrap());
    let mut proxy = Proxy::start_in(
        dir,
        &config(&backend, "mtls", "").replace(
            "client_auth.mode = \"require_and_verify\"",
            "client_auth.mode = \"require_and_verify\"\non_revoke = \"close\"",
        ),
    );
    let (old_ca, next_ca) = (
        site.clients.certificate().to_owned(),
        next.certificate().to_owned(),
    );
    let both = format!("{old_ca}{next_ca}");
    let path = proxy.dir().join("clients.pem");
    let publish = |text: &str| {
        fs::write(path.with_extension("new"), text).unwrap();
        fs::rename(path.with_extension("new"), &path).unwrap();
    };
    let unknown_ca = |identity: &Issued, state: &str| {
        for version in VERSIONS {
            let error = ask(&site.client(Some(identity), version), proxy.connect()).unwrap_err();
            assert_eq!(
                alert(&error),
                Some(48),
                "{state}, {:?}: {error}",
                version.version
            );
        }
    };

    let old = Crowd::start(&site, &proxy, &of_old);
    old.goes_on("the old authority");
    unknown_ca(&of_next, "the old authority");

    proxy.reload_after(|| publish(&both));
    let new = Crowd::start(&site, &proxy, &of_next);
    old.goes_on("both authorities");
    new.goes_on("both authorities");

    old.leaves("the old authority is about to go");
    proxy.reload_after(|| publish(&next_ca));
    unknown_ca(&of_old, "the next authority");
    new.goes_on("the next authority");

    let mut kept = tls::session(&site.client(Some(&of_next), &TLS13), NAME, proxy.connect());
    let mut echo = |state: &str| {
        kept.write_all(b"ping")
            .unwrap_or_else(|error| panic!("{state}: {error}"));
        kept.read_exact(&mut [0; 4])
            .unwrap_or_else(|error| panic!("{state}: {error}"));
    };
    echo("the next authority");
    let cut = &both[..both.len() - next_ca.len() / 2];
    for (state, text) in [
        ("empty", ""),
        ("no PEM", "garbage\n"),
        ("cut", cut),
        ("a key", of_next.key.as_str()),
    ] {
        let diagnostics = proxy.refusal_after(|| publish(text));
        assert!(
            diagnostics.contains("clients.pem"),
            "{state}: {diagnostics}"
        );
        new.goes_on(state);
        unknown_ca(&of_old, state);
        echo(state);
    }

    proxy.reload_after(|| publish(&both));
    Crowd::start(&site, &proxy, &of_old).leaves("both authorities again");
    new.goes_on("both authorities again");
    echo("both authorities again");
    new.leaves("the end");
    drop(kept);

    // The log agrees with the clients: it has the refusals above, and none besides.
    let last = |line: &Value| line["client_cert_verified"] == true && line["received"] == 4 * 6;
    while !last(&proxy.next_access()) {}
    let log = proxy.log();
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let refused = lines
        .filter(|line| line["message"] == "connection" && line["outcome"] != "closed")
        .count();
    assert_eq!(refused, 2 * (1 + 1 + 4), "{log}");
    assert_eq!(proxy.count("reloaded"), 3);
}
