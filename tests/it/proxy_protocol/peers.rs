//! HAProxy and nginx on both sides: what they send, and what they read.

use std::fs;
use std::io::Read;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustls::version::TLS13;
use snigate::pki::Validity;

use super::*;
use crate::support::backend::read_exact;
use crate::support::hello::hello;
use crate::support::left_out::lacks;
use crate::support::proxy::directory;
use crate::support::tls::{self, authority, write};

/// A program that listens, killed when dropped.
struct Program(Child);

impl Program {
    /// Runs a command, and waits until it listens on these addresses.
    fn start(mut command: Command, addresses: &[SocketAddr]) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let limit = Instant::now() + PATIENCE;
        for addr in addresses {
            while TcpStream::connect(addr).is_err() {
                assert!(
                    child.try_wait().unwrap().is_none() && Instant::now() < limit,
                    "it does not listen"
                );
                thread::park_timeout(Duration::from_millis(5));
            }
        }
        Self(child)
    }

    fn haproxy(dir: &Path, sections: &str, addresses: &[SocketAddr]) -> Self {
        let file = dir.join("haproxy.cfg");
        let timeouts = "timeout connect 20s\ntimeout client 20s\ntimeout server 20s\n";
        fs::write(
            &file,
            format!("global\nmaxconn 100\ndefaults\nmode tcp\n{timeouts}{sections}\n"),
        )
        .unwrap();
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(file);
        Self::start(command, addresses)
    }

    fn nginx(dir: &Path, sections: &str, addresses: &[SocketAddr]) -> Self {
        let text = format!(
            "load_module {STREAM};\ndaemon off; master_process off; error_log stderr; pid nginx.pid;\n\
             events {{ worker_connections 64; }}\n{sections}\n"
        );
        fs::write(dir.join("nginx.conf"), text).unwrap();
        let mut command = Command::new("nginx");
        command
            .args(["-e", "stderr", "-p"])
            .arg(dir)
            .args(["-c", "nginx.conf"]);
        Self::start(command, addresses)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// An address that nobody else uses: these programs cannot say which port the kernel has given
/// them.
fn address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    SocketAddr::from((
        [
            127,
            high & 0xfe | 64,
            low,
            NEXT.fetch_add(1, Ordering::Relaxed),
        ],
        4433,
    ))
}

/// Snigate behind proxies on the loopback interface.
fn behind(backend: &Backend) -> Proxy {
    let listener =
        "[listeners.edge]\nbind = \"127.0.0.1:0\"\nproxy_protocol = { from = [\"127.0.0.0/8\"] }\n";
    Proxy::start(&format!(
        "{listener}{}",
        passthrough("a.example", backend.addr)
    ))
}

/// A client of the proxy in front, whose hello comes back through everything.
fn assert_known(proxy: &mut Proxy, front: SocketAddr, what: &str) {
    let client = Ipv4Addr::new(127, 0, 0, 5);
    let hello = hello("a.example");
    let mut stream = connect_from(client, front);
    let own = stream.local_addr().unwrap();
    stream.write_all(&hello).unwrap();
    assert_eq!(read_exact(&mut stream, hello.len()), hello, "{what}");
    drop(stream);
    let line = proxy.next_access();
    assert_line(&line, &[("client", &own.to_string())]);
    assert!(
        line["peer"].as_str().unwrap().starts_with("127."),
        "{what}: {line}"
    );
}

#[test]
fn clients_behind_haproxy_are_known_and_its_health_checks_are_no_clients() {
    if lacks(&["haproxy"]) {
        return;
    }
    let (backend, dir) = (Backend::echo(), directory());
    let mut proxy = behind(&backend);
    let options = [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority",
        "send-proxy-v2-ssl-cn proxy-v2-options ssl,cert-cn,ssl-cipher,crc32c",
    ];
    let addresses = options.map(|_| address());
    let mut sections = String::new();
    for (options, (at, front)) in options.iter().zip(addresses.iter().enumerate()) {
        let server = proxy.addr();
        sections.push_str(&format!(
            "listen l{at}\nbind {front}\nunique-id-format id-%pid\nserver s {server} {options}\n"
        ));
    }
    let _haproxy = Program::haproxy(dir.path(), &sections, &addresses);
    for (front, what) in addresses.iter().zip(options) {
        assert_known(&mut proxy, *front, what);
    }

    let front = address();
    // Between the two, to count.
    let server = proxy.addr();
    let counter = Backend::serve(move |mut near| {
        let mut far = TcpStream::connect(server).unwrap();
        let (mut from_near, mut to_far) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        let there = thread::spawn(move || {
            let _ = std::io::copy(&mut from_near, &mut to_far);
            let _ = to_far.shutdown(Shutdown::Write);
        });
        let _ = std::io::copy(&mut far, &mut near);
        let _ = near.shutdown(Shutdown::Write);
        let _ = there.join();
    });
    let sections = format!(
        "listen l\nbind {front}\nserver s {} send-proxy-v2 check inter 50ms\n",
        counter.addr
    );
    let other = directory();
    let _checks = Program::haproxy(other.path(), &sections, &[front]);
    assert_known(&mut proxy, front, "with checks");
    proxy.poll_until("several checks", |_| counter.accepted() > 5);
    proxy.signal(Signal::TERM);
    let (_, log) = proxy.wait_for_exit();
    let stopped = log
        .lines()
        .find(|line| line.contains("\"stopped\""))
        .expect("the last event");
    let stopped: Value = serde_json::from_str(stopped).unwrap();
    assert!(stopped["silent"].as_u64().unwrap() > 2, "{stopped}");
    assert!(
        !log.contains("bad_proxy_header") && !log.contains("incomplete_hello"),
        "{log}"
    );
}

#[test]
fn clients_behind_nginx_are_known() {
    if lacks(&["nginx", STREAM]) {
        return;
    }
    let (backend, dir, front) = (Backend::echo(), directory(), address());
    let mut proxy = behind(&backend);
    let server = proxy.addr();
    let sections = format!(
        "stream {{ server {{ listen {front}; proxy_pass {server}; proxy_protocol on; }} }}"
    );
    let _nginx = Program::nginx(dir.path(), &sections, &[front]);
    assert_known(&mut proxy, front, "nginx");
}

/// What a server of HTTP answers to a client behind snigate, and where the client was; and the
/// access line.
fn told(server: SocketAddr, keys: &str) -> (String, [SocketAddr; 2], Value) {
    let files = directory();
    let ca = authority(files.path(), "ca");
    write(
        files.path(),
        "site",
        &ca.server(&["a.example"], Validity::days(20)).unwrap(),
    );
    let mut proxy = Proxy::start_in(
        files,
        &format!(
            "[certificates.site]\ncert_file = \"site.pem\"\nkey_file = \"site-key.pem\"\n\
             [routes.a]\nsni = \"a.example\"\naction = \"terminate\"\nupstream = \"told\"\n\
             [upstreams.told]\nservers = \"{server}\"\n{keys}"
        ),
    );
    let stream = proxy.connect();
    let ends = [stream.local_addr().unwrap(), stream.peer_addr().unwrap()];
    let mut session = tls::session(&tls::client(&ca, None, &[&TLS13]), "a.example", stream);
    session
        .write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    session.read_to_string(&mut answer).unwrap();
    drop(session);
    let body = answer
        .split("\r\n\r\n")
        .nth(1)
        .unwrap_or(&answer)
        .trim()
        .to_owned();
    (body, ends, proxy.next_access())
}

const ALL: &str = "proxy_protocol = \"v2\"\nproxy_protocol_tlvs = [\"authority\", \"alpn\", \"ssl\", \
    \"client_certificate\", \"unique_id\", \"crc32c\"]\n";

#[test]
fn haproxy_understands_what_it_is_told_and_verifies_the_checksum() {
    if lacks(&["haproxy"]) {
        return;
    }
    let (dir, server) = (directory(), address());
    let said = "%[src]:%[src_port] %[dst]:%[dst_port] %[fc_pp_authority] %[fc_pp_unique_id]";
    let sections = format!(
        "listen l\nmode http\nbind {server} accept-proxy\n\
         http-request return status 200 content-type text/plain lf-string \"{said}\"\n"
    );
    let _haproxy = Program::haproxy(dir.path(), &sections, &[server]);
    let (body, [client, local], line) = told(server, ALL);
    assert_eq!(
        body,
        format!(
            "{client} {local} a.example {}",
            line["id"].as_str().unwrap()
        )
    );
    let (body, [client, local], _) = told(server, "proxy_protocol = \"v1\"\n");
    assert_eq!(body, format!("{client} {local}"));

    // That the checksum was right above says something only if a wrong one is not taken.
    for (damage, served) in [(0, true), (1, false)] {
        let mut header = V2Header::new(Some(endpoints(CLIENT, TARGET)))
            .authority("a.example")
            .finish(true)
            .unwrap();
        let last = header.len() - 1;
        header[last] ^= damage;
        let mut stream = TcpStream::connect(server).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(&[header, b"GET / HTTP/1.0\r\n\r\n".to_vec()].concat())
            .unwrap();
        let answer = String::from_utf8(read_until_closed(&mut stream)).unwrap();
        assert_eq!(answer.contains(CLIENT), served, "{answer}");
    }
}

#[test]
fn nginx_understands_what_it_is_told() {
    if lacks(&["nginx", STREAM]) {
        return;
    }
    let (dir, server) = (directory(), address());
    let said = "$proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_addr:$proxy_protocol_server_port";
    let sections = format!(
        "http {{ access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3;\n\
         uwsgi_temp_path t4; scgi_temp_path t5;\n\
         server {{ listen {server} proxy_protocol; location / {{ return 200 \"{said}\"; }} }} }}"
    );
    let _nginx = Program::nginx(dir.path(), &sections, &[server]);
    for keys in [
        "proxy_protocol = \"v1\"\n",
        "proxy_protocol = \"v2\"\n",
        ALL,
    ] {
        let (body, [client, local], _) = told(server, keys);
        assert_eq!(body, format!("{client} {local}"), "{keys}");
    }
}
