//! A change that is wrong changes nothing: what runs goes on, as strict as it was.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::version::TLS13;
use snigate::pki::{Authority, Issued, Validity};

use super::*;
use crate::support::proxy::directory;
use crate::support::tls::{self, authority, client, der, exchange, write};

const NAME: &str = "m.example";

/// A route for members only, and the clients that try it.
struct Members {
    config: String,
    member: Arc<ClientConfig>,
    nobody: Arc<ClientConfig>,
}

fn members(dir: &Path, backend: &Backend) -> Members {
    let [servers, clients] = ["servers", "clients"].map(|name| authority(dir, name));
    write(
        dir,
        "site",
        &servers.server(&[NAME], Validity::days(20)).unwrap(),
    );
    let member = clients.client("member", Validity::days(20)).unwrap();
    let config = format!(
        r#"
        [certificates.site]
        cert_file = "site.pem"
        key_file = "site-key.pem"
        [tls.mtls]
        client_auth.mode = "require_and_verify"
        client_auth.ca_files = ["clients.pem"]
        [routes.members]
        sni = "{NAME}"
        action = "terminate"
        tls = "mtls"
        upstream = "{}"
        "#,
        backend.addr
    );
    Members {
        config,
        member: client(&servers, Some(&member), &[&TLS13]),
        nobody: client(&servers, None, &[&TLS13]),
    }
}

impl Members {
    /// The member comes in, and nobody else does.
    fn assert_enforced(&self, proxy: &Proxy, when: &str) {
        let answer = exchange(&self.member, NAME, proxy.connect(), b"question");
        assert_eq!(
            answer.unwrap_or_else(|error| panic!("{when}: {error}")),
            b"question",
            "{when}"
        );
        let error = exchange(&self.nobody, NAME, proxy.connect(), b"question").unwrap_err();
        assert_eq!(tls::alert(&error), Some(116), "{when}: {error}");
    }
}

#[test]
fn a_configuration_with_a_mistake_is_refused_and_the_old_one_goes_on() {
    let (dir, backend) = (directory(), Backend::echo());
    let members = members(dir.path(), &backend);
    let proxy = Proxy::start_in(dir, &members.config);
    for (mistake, from, to, words) in [
        (
            "broken TOML",
            "[routes.members]",
            "[routes.members",
            "snigate.toml:",
        ),
        (
            "an unknown key",
            "upstream =",
            "upstreams =",
            "write `upstream = ",
        ),
        (
            "a missing CA",
            "\"clients.pem\"",
            "\"nowhere.pem\"",
            "nowhere.pem",
        ),
        (
            "a directory without CAs",
            "\"clients.pem\"",
            "\"empty.d\"",
            "empty.d",
        ),
        (
            "no CA",
            "client_auth.ca_files",
            "#",
            "there are no ca_files",
        ),
        (
            "a key for a CA",
            "\"clients.pem\"",
            "\"site-key.pem\"",
            "private key",
        ),
        (
            "a missing certificate",
            "\"site.pem\"",
            "\"nowhere.pem\"",
            "nowhere.pem",
        ),
        (
            "an unknown policy",
            "tls = \"mtls\"",
            "tls = \"mtl\"",
            "did you mean \"mtls\"?",
        ),
    ] {
        fs::create_dir_all(proxy.dir().join("empty.d")).unwrap();
        let broken = members.config.replacen(from, to, 1);
        assert_ne!(broken, members.config, "{mistake}");
        let diagnostics = proxy.reload_refused(&broken);
        assert!(diagnostics.contains(words), "{mistake}: {diagnostics}");
        members.assert_enforced(&proxy, mistake);
    }
    proxy.reload(&format!(
        "{}{}",
        members.config,
        route("a", "a.example", backend.addr)
    ));
    members.assert_enforced(&proxy, "mended");
    echo(&mut proxy.connect(), &hello("a.example"));
}

#[test]
fn a_ca_file_that_is_emptied_damaged_or_removed_changes_nothing_until_it_is_whole_again() {
    let (dir, backend) = (directory(), Backend::echo());
    let members = members(dir.path(), &backend);
    let proxy = Proxy::start_in(dir, &members.config);
    let path = proxy.dir().join("clients.pem");
    let whole = fs::read_to_string(&path).unwrap();
    let other = Authority::new("other", Validity::days(20)).unwrap();
    for (damage, content) in [
        ("emptied", Some(String::new())),
        ("garbage", Some("\u{7f}ELF, or so".to_owned())),
        ("cut short", Some(whole[..whole.len() / 2].to_owned())),
        (
            "followed by half of another",
            Some(format!("{whole}{}", &other.certificate()[..200])),
        ),
        ("removed", None),
    ] {
        let diagnostics = proxy.refusal_after(|| match &content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        });
        assert!(
            diagnostics.contains("clients.pem"),
            "{damage}: {diagnostics}"
        );
        members.assert_enforced(&proxy, damage);
        // Also a reload that is asked for does not take it.
        let diagnostics = proxy.refusal_after(|| proxy.signal(Signal::HUP));
        assert!(
            diagnostics.contains("clients.pem"),
            "{damage}: {diagnostics}"
        );
        members.assert_enforced(&proxy, damage);
        proxy.reload_after(|| fs::write(&path, &whole).unwrap());
        members.assert_enforced(&proxy, damage);
    }
}

/// The certificate that clients of [`NAME`] are shown.
fn shown(client: &Arc<ClientConfig>, proxy: &Proxy) -> CertificateDer<'static> {
    let mut session = tls::session(client, NAME, proxy.connect());
    session.write_all(b"x").unwrap();
    session.conn.peer_certificates().expect("a certificate")[0]
        .clone()
        .into_owned()
}

#[test]
fn while_certificate_and_key_do_not_fit_the_old_pair_is_served_and_nobody_is_alarmed() {
    let (dir, backend) = (directory(), Backend::echo());
    let servers = authority(dir.path(), "servers");
    let issue = || servers.server(&[NAME], Validity::days(20)).unwrap();
    let mut old = issue();
    write(dir.path(), "site", &old);
    let config = format!(
        "[certificates.site]\ncert_file = \"site.pem\"\nkey_file = \"site-key.pem\"\n[routes.a]\nsni = \"{NAME}\"\n\
         action = \"terminate\"\nupstream = \"{}\"\n",
        backend.addr
    );
    let proxy = Proxy::start_in(dir, &config);
    let client = client(&servers, None, &[&TLS13]);
    type Half = (&'static str, fn(&Issued) -> &str);
    let certificate: Half = ("site.pem", |issued| &issued.certificate);
    let key: Half = ("site-key.pem", |issued| &issued.key);
    for (round, halves) in [[certificate, key], [key, certificate]]
        .into_iter()
        .enumerate()
    {
        assert_eq!(shown(&client, &proxy), der(&old.certificate));
        let new = issue();
        let write = |(file, half): Half| fs::write(proxy.dir().join(file), half(&new)).unwrap();
        write(halves[0]);
        let event = proxy.wait_nth(
            "not reloaded yet, the configuration that runs goes on",
            round,
            |_| true,
        );
        assert!(
            event["reason"]
                .as_str()
                .unwrap()
                .contains("belongs to no certificate"),
            "{event}"
        );
        assert_eq!(
            shown(&client, &proxy),
            der(&old.certificate),
            "half of it has changed"
        );
        proxy.reload_after(|| write(halves[1]));
        assert_eq!(
            shown(&client, &proxy),
            der(&new.certificate),
            "both have changed"
        );
        old = new;
    }
    assert!(
        !proxy.log().contains(r#""level":"error""#),
        "{}",
        proxy.log()
    );
}

#[test]
fn a_listener_whose_port_is_taken_comes_up_by_itself_when_it_is_free() {
    let backend = Backend::echo();
    let routes = route("a", "a.example", backend.addr);
    let proxy = Proxy::start(&routes);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let more = route("b", "b.example", backend.addr);
    let diagnostics = proxy.reload_refused(&format!(
        "{FRAME}{routes}{more}[listeners.other]\nbind = \"{addr}\"\n"
    ));
    assert!(
        diagnostics.contains(&addr.to_string()) && diagnostics.contains("listeners.other"),
        "{diagnostics}"
    );
    echo(&mut proxy.connect(), &hello("a.example"));
    assert_eq!(
        answer(proxy.connect(), "b.example"),
        alert(112),
        "all of it or nothing"
    );
    drop(taken);
    proxy.wait_for("reloaded");
    assert_eq!(proxy.addr_of("other"), addr);
    echo(&mut proxy.connect_to("other"), &hello("a.example"));
    echo(&mut proxy.connect(), &hello("b.example"));
    let refusals = proxy.count("reload refused, the configuration that runs goes on");
    assert_eq!(
        refusals, 1,
        "it is reported once, however often it is tried"
    );
}
