//! Headers that servers are sent.

use std::fs;
use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ServerConnection, StreamOwned};
use snigate::pki::{Authority, Issued, Validity};
use snigate::wire::proxy_header::{ClientFlags, Parsed, ProxyHeader, SslTlv, parse};
use tempfile::TempDir;

use super::*;
use crate::support::hello::{alert, hello};
use crate::support::proxy::directory;
use crate::support::socket::{accept, refusing};
use crate::support::tls::{self, authority, der, write};

const NAME: &str = "a.example";
const ALL: &str = "proxy_protocol = \"v2\"\nproxy_protocol_tlvs = [\"authority\", \"alpn\", \"ssl\", \
    \"client_certificate\", \"unique_id\", \"crc32c\"]\n";
const SEEN: &str =
    "proxy_protocol = \"v2\"\nproxy_protocol_tlvs = [\"authority\", \"unique_id\", \"crc32c\"]\n";

/// A route in passthrough to one server, whose upstream has these keys.
fn told(server: impl std::fmt::Display, keys: &str) -> String {
    format!(
        "{}[upstreams.told]\nservers = \"{server}\"\n{keys}",
        passthrough(NAME, "told")
    )
}

/// A server that sends back what it reads first, and ends.
fn first_read() -> Backend {
    Backend::serve(|mut stream| {
        let mut bytes = [0; 16 * 1024];
        let read = stream.read(&mut bytes).unwrap_or(0);
        let _ = stream.write_all(&bytes[..read]);
    })
}

/// What a client sees of a server that was sent `hello`; the line of the connection, and where the
/// client was.
fn ask(proxy: &mut Proxy, hello: &[u8]) -> (Vec<u8>, Value, [SocketAddr; 2]) {
    let mut client = proxy.connect();
    let ends = [client.local_addr().unwrap(), client.peer_addr().unwrap()];
    client.write_all(hello).unwrap();
    let seen = read_until_closed(&mut client);
    drop(client);
    (seen, proxy.next_access(), ends)
}

#[test]
fn a_server_is_sent_the_header_and_the_hello_at_once() {
    let backend = first_read();
    let hello = hello(NAME);
    let mut proxy = Proxy::start(&told(backend.addr, "proxy_protocol = \"v1\"\n"));
    let (seen, line, [client, local]) = ask(&mut proxy, &hello);
    let header = format!(
        "PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n",
        client.port(),
        local.port()
    );
    assert_eq!(seen, [header.as_bytes(), &hello].concat());
    assert_eq!(line["received"], hello.len(), "{line}");

    proxy.reload(&told(backend.addr, "proxy_protocol = \"v2\"\n"));
    let (seen, _, [client, local]) = ask(&mut proxy, &hello);
    let header = V2Header::new(Some(Endpoints::new(client, local)))
        .finish(false)
        .unwrap();
    assert_eq!(seen, [header, hello.clone()].concat());

    proxy.reload(&told(backend.addr, SEEN));
    let (seen, line, [client, local]) = ask(&mut proxy, &hello);
    let header = V2Header::new(Some(Endpoints::new(client, local))).authority(NAME);
    let header = header
        .unique_id(line["id"].as_str().unwrap())
        .finish(true)
        .unwrap();
    assert_eq!(seen, [header, hello.clone()].concat());

    proxy.reload(&told(backend.addr, ""));
    assert_eq!(ask(&mut proxy, &hello).0, hello);
}

#[test]
fn a_header_that_came_in_goes_out_as_one_of_its_own() {
    let backend = first_read();
    let mut proxy = Proxy::start(&format!("{LISTENER}{}", told(backend.addr, SEEN)));
    let hello = hello(NAME);
    // What else it says is not passed on.
    let talkative = V2Header::new(Some(endpoints(CLIENT, TARGET)))
        .authority("other.example")
        .unique_id("theirs");
    for (header, addresses) in [
        (v1(), Some([CLIENT, TARGET])),
        (talkative.finish(true).unwrap(), Some([CLIENT, TARGET])),
        (V2Header::local(), None),
    ] {
        let mut client = connect_from(FRONT, proxy.addr());
        let own = [client.local_addr().unwrap(), client.peer_addr().unwrap()];
        client.write_all(&[header, hello.clone()].concat()).unwrap();
        let seen = read_until_closed(&mut client);
        drop(client);
        let line = proxy.next_access();
        let ends = addresses.map_or(own, |ends| ends.map(|end| end.parse().unwrap()));
        let out = V2Header::new(Some(Endpoints::new(ends[0], ends[1]))).authority(NAME);
        let out = out
            .unique_id(line["id"].as_str().unwrap())
            .finish(true)
            .unwrap();
        assert_eq!(seen, [out, hello.clone()].concat(), "{line}");
    }
}

#[test]
fn the_next_server_is_sent_the_header_too_and_so_is_a_unix_socket() {
    let (_socket, refusing) = refusing();
    let dir = directory();
    let path = dir.path().join("server.sock");
    let server = UnixListener::bind(&path).unwrap();
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut stream: UnixStream = accept(&server);
        let mut bytes = vec![0; 16 * 1024];
        let read = stream.read(&mut bytes).unwrap();
        bytes.truncate(read);
        sender.send(bytes).unwrap();
    });
    let servers = format!(
        "servers = [\"{refusing}\", \"unix:{}\"]\nbalance = \"first\"",
        path.display()
    );
    let config = format!(
        "{}[upstreams.told]\n{servers}\nproxy_protocol = \"v1\"\n",
        passthrough(NAME, "told")
    );
    let mut proxy = Proxy::start(&config);
    let hello = hello(NAME);
    let (_, _, [client, local]) = ask(&mut proxy, &hello);
    let header = format!(
        "PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n",
        client.port(),
        local.port()
    );
    assert_eq!(
        receiver.recv_timeout(PATIENCE).unwrap(),
        [header.as_bytes(), &hello].concat()
    );
}

/// Certificates of a site whose clients may have to show one.
struct Site {
    servers: Authority,
    clients: Authority,
}

fn site() -> (Site, TempDir) {
    let dir = directory();
    let [servers, clients] = ["servers", "clients"].map(|name| authority(dir.path(), name));
    write(
        dir.path(),
        "site",
        &servers.server(&[NAME], Validity::days(20)).unwrap(),
    );
    write(
        dir.path(),
        "inside",
        &servers
            .server(&["inside.example"], Validity::days(20))
            .unwrap(),
    );
    (Site { servers, clients }, dir)
}

/// A route that terminates, with this mode of client authentication.
fn terminated(server: SocketAddr, mode: &str, keys: &str) -> String {
    let ca = match mode {
        "verify_if_given" | "require_and_verify" => "client_auth.ca_files = [\"clients.pem\"]\n",
        "pinned" => "client_auth.cert_files = [\"ada.pem\"]\n",
        _ => "",
    };
    format!(
        "[certificates.site]\ncert_file = \"site.pem\"\nkey_file = \"site-key.pem\"\n\
         [trust.inside]\nca_files = [\"servers.pem\"]\n\
         [tls.it]\nalpn = [\"h2\", \"x\"]\nclient_auth.mode = \"{mode}\"\n{ca}\
         [routes.a]\nsni = \"{NAME}\"\naction = \"terminate\"\ntls = \"it\"\nupstream = \"told\"\n\
         [upstreams.told]\nservers = \"{server}\"\n{keys}"
    )
}

fn client(
    site: &Site,
    identity: Option<&Issued>,
    version: &'static rustls::SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let mut config = Arc::unwrap_or_clone(tls::client(&site.servers, identity, &[version]));
    config.alpn_protocols = vec![b"x".to_vec()];
    Arc::new(config)
}

/// The bytes of a header, and what follows it.
fn split(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    match parse(bytes) {
        Parsed::Complete { consumed, .. } => {
            (bytes[..consumed].to_vec(), bytes[consumed..].to_vec())
        }
        other => panic!("{other:?}: {}", bytes.escape_ascii()),
    }
}

#[test]
fn what_a_server_is_told_of_a_session_is_what_is_known_of_it() {
    let (site, dir) = site();
    let backend = Backend::echo();
    let ada = site.clients.client("ada", Validity::days(20)).unwrap();
    let eve = Authority::new("others", Validity::days(20))
        .unwrap()
        .client("eve", Validity::days(20))
        .unwrap();
    write(dir.path(), "ada", &ada);
    let mut proxy = Proxy::start_in(dir, &terminated(backend.addr, "none", ALL));
    for (mode, shown, flags) in [
        ("none", Some(&ada), ClientFlags::NoCertificate),
        ("request", None, ClientFlags::NoCertificate),
        ("request", Some(&eve), ClientFlags::Unverified),
        ("require_any", Some(&ada), ClientFlags::Unverified),
        ("verify_if_given", None, ClientFlags::NoCertificate),
        ("verify_if_given", Some(&ada), ClientFlags::Verified),
        ("require_and_verify", Some(&ada), ClientFlags::Verified),
        ("pinned", Some(&ada), ClientFlags::Verified),
    ] {
        proxy.reload(&format!(
            "{}\n# {shown:?}\n",
            terminated(backend.addr, mode, ALL)
        ));
        for (version, name, cipher) in [
            (&TLS12, "TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
            (&TLS13, "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
        ] {
            let stream = proxy.connect();
            let ends = Endpoints::new(stream.local_addr().unwrap(), stream.peer_addr().unwrap());
            let answer = tls::exchange(
                &client(&site, shown, version),
                NAME,
                stream,
                b"the question",
            )
            .unwrap();
            let (header, rest) = split(&answer);
            assert_eq!(rest, b"the question");
            let line = proxy.next_access();
            let verified = flags == ClientFlags::Verified;
            let certificate: CertificateDer<'_> = der(&ada.certificate);
            let ssl = SslTlv {
                client: flags,
                version: name,
                cipher: Some(cipher),
                common_name: verified.then_some("ada"),
                certificate: verified.then_some(&certificate),
            };
            let expected = V2Header::new(Some(ends)).authority(NAME).alpn(b"x");
            let expected = expected
                .unique_id(line["id"].as_str().unwrap())
                .ssl(&ssl)
                .finish(true)
                .unwrap();
            assert_eq!(
                header,
                expected,
                "{mode} {name}: {}\n{}",
                header.escape_ascii(),
                expected.escape_ascii()
            );
            // Both counts are those of the plaintext of this side, of which the header is none.
            assert_eq!(line["received"], b"the question".len(), "{line}");
        }
    }
}

#[test]
fn only_what_is_asked_for_is_told() {
    let (site, dir) = site();
    let backend = Backend::echo();
    let ada = site.clients.client("ada", Validity::days(20)).unwrap();
    let keys = "proxy_protocol = \"v2\"\nproxy_protocol_tlvs = [\"ssl\"]\n";
    let proxy = Proxy::start_in(dir, &terminated(backend.addr, "require_and_verify", keys));
    let stream = proxy.connect();
    let ends = Endpoints::new(stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    let answer = tls::exchange(&client(&site, Some(&ada), &TLS13), NAME, stream, b"q").unwrap();
    let ssl = SslTlv {
        client: ClientFlags::Verified,
        version: "TLSv1.3",
        cipher: Some("TLS_AES_256_GCM_SHA384"),
        common_name: Some("ada"),
        certificate: None,
    };
    assert_eq!(
        split(&answer).0,
        V2Header::new(Some(ends)).ssl(&ssl).finish(false).unwrap()
    );
}

#[test]
fn a_server_that_asks_for_the_protocol_alone_is_told_of_it() {
    let (site, dir) = site();
    let backend = Backend::echo();
    let ada = site.clients.client("ada", Validity::days(20)).unwrap();
    let keys = "proxy_protocol = \"v2\"\nproxy_protocol_tlvs = [\"alpn\"]\n";
    let proxy = Proxy::start_in(dir, &terminated(backend.addr, "require_and_verify", keys));
    let stream = proxy.connect();
    let ends = Endpoints::new(stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    let answer = tls::exchange(&client(&site, Some(&ada), &TLS13), NAME, stream, b"q").unwrap();
    assert_eq!(
        split(&answer).0,
        V2Header::new(Some(ends)).alpn(b"x").finish(false).unwrap()
    );
}

#[test]
fn the_header_comes_before_the_session_with_a_server() {
    let (site, dir) = site();
    let inside = fs::read_to_string(dir.path().join("inside.pem")).unwrap();
    let key = fs::read_to_string(dir.path().join("inside-key.pem")).unwrap();
    let config = Arc::new(tls::server(&Issued {
        certificate: inside,
        key,
    }));
    let backend = Backend::serve(move |mut stream| {
        let mut header = Vec::new();
        while !matches!(parse(&header), Parsed::Complete { .. }) {
            let mut byte = [0];
            if stream.read_exact(&mut byte).is_err() {
                return;
            }
            header.push(byte[0]);
        }
        let mut session =
            StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
        let mut bytes = Vec::new();
        if session.read_to_end(&mut bytes).is_ok() {
            let _ = session.write_all(&[header, bytes].concat());
            session.conn.send_close_notify();
            let _ = session.flush();
        }
    });
    for version in ["v1", "v2"] {
        let keys = format!(
            "tls = {{ server_name = \"inside.example\", trust = \"inside\" }}\nproxy_protocol = \"{version}\"\n"
        );
        let files = directory();
        for name in ["site.pem", "site-key.pem", "servers.pem"] {
            fs::copy(dir.path().join(name), files.path().join(name)).unwrap();
        }
        let proxy = Proxy::start_in(files, &terminated(backend.addr, "none", &keys));
        let stream = proxy.connect();
        let ends = Endpoints::new(stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        let answer =
            tls::exchange(&client(&site, None, &TLS13), NAME, stream, b"the question").unwrap();
        let (header, rest) = split(&answer);
        assert_eq!(
            parse(&header),
            Parsed::Complete {
                header: ProxyHeader::Client(Some(ends)),
                consumed: header.len()
            }
        );
        assert_eq!(rest, b"the question");
    }
}

#[test]
fn who_is_refused_is_told_of_to_nobody() {
    let (site, dir) = site();
    let backend = Backend::echo();
    let proxy = Proxy::start_in(dir, &terminated(backend.addr, "require_and_verify", ALL));
    tls::exchange(
        &client(&site, None, &TLS13),
        NAME,
        proxy.connect(),
        b"the question",
    )
    .unwrap_err();
    let mut stranger = proxy.connect();
    stranger.write_all(&hello("b.example")).unwrap();
    assert_eq!(read_until_closed(&mut stranger), alert(112));
    assert_eq!(backend.accepted(), 0);
}

#[test]
fn what_an_upstream_cannot_mean_is_refused() {
    let tlvs = |words: &str| format!("proxy_protocol = \"v2\"\nproxy_protocol_tlvs = {words}\n");
    for (keys, expected) in [
        (
            "proxy_protocol = \"v3\"\n".to_owned(),
            "upstreams.told.proxy_protocol",
        ),
        (
            "proxy_protocol_tlvs = \"ssl\"\n".to_owned(),
            "proxy_protocol_tlvs has no effect without proxy_protocol",
        ),
        (
            "proxy_protocol = \"v1\"\nproxy_protocol_tlvs = \"crc32c\"\n".to_owned(),
            "a header of version 1 has nothing but addresses",
        ),
        (tlvs("[]"), "proxy_protocol_tlvs is empty"),
        (tlvs("[\"autority\"]"), "did you mean \"authority\"?"),
        (tlvs("[\"x\"]"), "there are authority, alpn, ssl,"),
        (
            tlvs("[\"crc32c\", \"crc32c\"]"),
            "\"crc32c\" stands there twice",
        ),
        (
            tlvs("[\"client_certificate\"]"),
            "client_certificate is a part of ssl",
        ),
        (
            tlvs("[\"ssl\"]"),
            "upstreams.told has \"ssl\" in `proxy_protocol_tlvs`",
        ),
        (
            tlvs("[\"alpn\"]"),
            "upstreams.told has \"alpn\" in `proxy_protocol_tlvs`",
        ),
    ] {
        let dir = directory();
        let config = format!(
            "[listeners.edge]\nbind = \"127.0.0.1:0\"\n{}",
            told("127.0.0.1:1", &keys)
        );
        fs::write(dir.path().join("snigate.toml"), config).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_snigate"))
            .arg("check")
            .current_dir(dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            said.contains(expected) && !output.status.success(),
            "{expected:?} is not in {said}"
        );
    }
}

#[test]
fn what_show_and_explain_say_is_what_is_in_effect() {
    let dir = directory();
    let listener =
        "[listeners.edge]\nbind = \"127.0.0.1:0\"\nproxy_protocol = { from = \"10.1.2.3/8\" }\n";
    let config = format!(
        "{listener}{}transparent = true\n",
        told("127.0.0.1:1", SEEN)
    );
    fs::write(dir.path().join("snigate.toml"), config).unwrap();
    let snigate = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_snigate"))
            .args(arguments)
            .current_dir(dir.path())
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let explained = snigate(&["explain", "--sni", NAME]);
    assert!(
        explained
            .contains("told of the client in a PROXY header, v2 with authority, unique_id, crc32c"),
        "{explained}"
    );
    assert!(
        explained.contains("from the client's address"),
        "{explained}"
    );
    let shown = snigate(&["show"]);
    fs::write(dir.path().join("snigate.toml"), &shown).unwrap();
    assert_eq!(snigate(&["show"]), shown);
    let shown: toml::Table = shown.parse().unwrap();
    let upstream = &shown["upstreams"]["told"];
    assert_eq!(
        shown["listeners"]["edge"]["proxy_protocol"]["from"][0].as_str(),
        Some("10.0.0.0/8")
    );
    assert_eq!(upstream["proxy_protocol"].as_str(), Some("v2"));
    assert_eq!(
        upstream["proxy_protocol_tlvs"].as_array().map(Vec::len),
        Some(3)
    );
    assert_eq!(upstream["transparent"].as_bool(), Some(true));
}
