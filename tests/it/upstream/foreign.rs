//! Servers that share no code with snigate.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::support::PATIENCE;
use crate::support::left_out::lacks;

/// A server in a process of its own, killed when dropped.
struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    /// Runs a command that listens on this address, and waits until it does.
    fn start(addr: SocketAddr, mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let limit = Instant::now() + PATIENCE;
        while TcpStream::connect(addr).is_err() {
            assert!(
                child.try_wait().unwrap().is_none() && Instant::now() < limit,
                "the server does not listen"
            );
            thread::park_timeout(Duration::from_millis(5));
        }
        Self { child, addr }
    }

    /// `openssl s_server`, which answers a request with what it knows of the session.
    fn openssl(dir: &Path, addr: SocketAddr, arguments: &[&str]) -> Self {
        let mut command = Command::new("openssl");
        command.args([
            "s_server",
            "-www",
            "-cert",
            "inside.pem",
            "-key",
            "inside-key.pem",
            "-accept",
        ]);
        command
            .arg(addr.to_string())
            .args(arguments)
            .current_dir(dir)
            .stdin(Stdio::null());
        Self::start(addr, command)
    }

    /// nginx with this in its server block, which answers with a file.
    fn nginx(dir: &Path, listen: &str, block: &str) -> Self {
        let addr = address();
        let text = format!(
            "daemon off; master_process off; error_log stderr; pid nginx.pid; events {{ worker_connections 64; }}\n\
             http {{ access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3;\n\
             uwsgi_temp_path t4; scgi_temp_path t5; server {{ listen {addr} {listen}; root www;\n\
             ssl_certificate inside.pem; ssl_certificate_key inside-key.pem;\n{block}\n}} }}\n"
        );
        fs::write(dir.join("nginx.conf"), text).unwrap();
        let mut command = Command::new("nginx");
        command
            .args(["-e", "stderr", "-p"])
            .arg(dir)
            .args(["-c", "nginx.conf"])
            .stdin(Stdio::null());
        Self::start(addr, command)
    }
}

/// An address that nobody else uses: these servers cannot say which port the kernel has given them.
fn address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    SocketAddr::from((
        [127, high | 1, low, NEXT.fetch_add(1, Ordering::Relaxed)],
        4433,
    ))
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A site with the server's certificate in `inside.pem` and snigate's own one, as a client, in
/// `edge-client.pem`.
fn site_with_client() -> (Site, TempDir) {
    let (site, dir) = site();
    write(dir.path(), "inside", &site.inside());
    write(
        dir.path(),
        "edge-client",
        &site.corp.client("snigate", Validity::days(20)).unwrap(),
    );
    (site, dir)
}

/// With the client certificate.
fn mutual() -> (String, String) {
    let tls = format!(
        "tls = {{ server_name = \"{INSIDE}\", trust = \"corp\", certificate = \"edge-client\" }}"
    );
    let tables = "[certificates.edge-client]\ncert_file = \"edge-client.pem\"\nkey_file = \"edge-client-key.pem\"\n";
    (tls, format!("{TRUST}{tables}"))
}

/// A request of HTTP/1.0, and the whole answer. Servers answer before the client ends, and some
/// take its end for a cancel.
fn get(site: &Site, proxy: &Proxy, path: &str) -> io::Result<String> {
    let mut session = tls::session(
        &client(&site.edge, None, rustls::ALL_VERSIONS),
        NAME,
        proxy.connect(),
    );
    session.write_all(format!("GET {path} HTTP/1.0\r\nHost: {INSIDE}\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    match session.read_to_end(&mut answer) {
        // openssl ends without a close_notify after its answer.
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof || answer.is_empty() => {
            Err(error)
        }
        _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
    }
}

#[test]
fn openssl_gets_the_certificate_that_it_requires_and_says_so_when_there_is_none() {
    let (site, dir) = site_with_client();
    for (version, word) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let server = Server::openssl(
            dir.path(),
            address(),
            &[
                version,
                "-Verify",
                "2",
                "-verify_return_error",
                "-CAfile",
                "corp.pem",
            ],
        );
        let (tls, tables) = mutual();
        let proxy = Proxy::start_in(copy(&dir), &config(&[&server.addr], &tls, &tables));
        let answer = get(&site, &proxy, "/").unwrap();
        assert!(
            answer.contains(word) && answer.contains("snigate"),
            "{version}: {answer}"
        );

        let mut proxy = Proxy::start_in(copy(&dir), &config(&[&server.addr], &corp(), TRUST));
        get(&site, &proxy, "/").unwrap_err();
        assert_no_session(&mut proxy, "a client certificate");
    }
}

#[test]
fn openssl_is_verified_by_name_and_by_address() {
    let (site, dir) = site_with_client();
    let addr = address();
    let server = Server::openssl(dir.path(), addr, &[]);
    let mut proxy = Proxy::start_in(copy(&dir), &config(&[&server.addr], &corp(), TRUST));
    assert!(get(&site, &proxy, "/").unwrap().contains("Cipher"));
    proxy.next_access();
    proxy.reload(&config(&[&server.addr], "tls.trust = \"corp\"", TRUST));
    get(&site, &proxy, "/").unwrap_err();
    assert_no_session(
        &mut proxy,
        &format!("it is for vault.internal, and not for {}", addr.ip()),
    );
    drop(server);

    write(
        dir.path(),
        "inside",
        &site
            .corp
            .server(&[INSIDE, &addr.ip().to_string()], Validity::days(20))
            .unwrap(),
    );
    let _server = Server::openssl(dir.path(), addr, &[]);
    assert!(get(&site, &proxy, "/").unwrap().contains("Cipher"));
}

#[test]
fn nginx_serves_a_large_file_to_who_shows_its_certificate() {
    if lacks(&["nginx"]) {
        return;
    }
    let (site, dir) = site_with_client();
    fs::create_dir(dir.path().join("www")).unwrap();
    let file: Vec<u8> = pattern(3_000_000, 1)
        .iter()
        .map(|byte| b'a' + byte % 26)
        .collect();
    fs::write(dir.path().join("www/file"), &file).unwrap();
    let files = directory();
    for name in [
        "site.pem",
        "site-key.pem",
        "corp.pem",
        "edge-client.pem",
        "edge-client-key.pem",
    ] {
        fs::copy(dir.path().join(name), files.path().join(name)).unwrap();
    }
    for protocol in ["TLSv1.2", "TLSv1.3"] {
        let block = format!(
            "ssl_protocols {protocol}; ssl_verify_client on; ssl_client_certificate corp.pem;"
        );
        let server = Server::nginx(dir.path(), "ssl", &block);
        let (tls, tables) = mutual();
        let mut proxy = Proxy::start_in(copy(&files), &config(&[&server.addr], &tls, &tables));
        let answer = get(&site, &proxy, "/file").unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        assert!(body.as_bytes() == file, "{protocol}: {} bytes", body.len());
        let line = proxy.next_access();
        assert_eq!(
            (&line["outcome"], &line["by"]),
            (&"closed".into(), &"server".into()),
            "{line}"
        );
        // nginx says so in HTTP.
        let proxy = Proxy::start_in(copy(&files), &config(&[&server.addr], &corp(), TRUST));
        assert!(
            get(&site, &proxy, "/file")
                .unwrap()
                .contains("No required SSL certificate was sent")
        );
    }
}

#[test]
fn nginx_agrees_on_the_protocol_that_was_agreed_on_with_the_client() {
    if lacks(&["nginx"]) {
        return;
    }
    let (site, dir) = site_with_client();
    fs::create_dir(dir.path().join("www")).unwrap();
    let server = Server::nginx(dir.path(), "ssl http2", "");
    let proxy = Proxy::start_in(
        {
            let files = directory();
            for name in ["site.pem", "site-key.pem", "corp.pem"] {
                fs::copy(dir.path().join(name), files.path().join(name)).unwrap();
            }
            files
        },
        &config(
            &[&server.addr],
            &corp(),
            &format!("{TRUST}[tls.default]\nalpn = [\"h2\", \"http/1.1\"]\n"),
        ),
    );
    let mut config = (*client(&site.edge, None, rustls::ALL_VERSIONS)).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut session = tls::session(&Arc::new(config), NAME, proxy.connect());
    // The client's preface, and an empty SETTINGS frame (RFC 9113 §3.4).
    session
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .unwrap();
    let mut frame = [0; 9];
    session.read_exact(&mut frame).unwrap();
    // A server that had fallen back to HTTP/1.1 would have answered in text.
    assert_eq!(frame[3], 4, "a SETTINGS frame: {frame:?}");
}
