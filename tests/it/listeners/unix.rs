//! Clients that come over a unix socket.

use std::fs;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use rustix::process::Signal;
use snigate::pki::Validity;
use tempfile::TempDir;

use super::{connect, echo};
use crate::support::PATIENCE;
use crate::support::backend::{Backend, pattern, read_exact, read_to_end};
use crate::support::hello::{alert, hello};
use crate::support::left_out::lacks;
use crate::support::proxy::{Proxy, directory, passthrough};
use crate::support::tls::{authority, write};

/// `listeners.edge` on a socket in `dir`, with these keys beside its address.
fn listener(path: &Path, keys: &str) -> String {
    format!(
        "[listeners.edge]\nbind = {{ address = \"unix:{}\"{keys} }}\n",
        path.display()
    )
}

fn place() -> (TempDir, PathBuf) {
    let dir = directory();
    let path = dir.path().join("edge.sock");
    (dir, path)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o777
}

#[test]
fn bytes_pass_both_ways_and_each_end_is_carried_over() {
    let (dir, path) = place();
    let backend = Backend::echo();
    let config = listener(&path, "") + &passthrough("a.example", backend.addr);
    let mut proxy = Proxy::start_in(dir, &config);
    assert_eq!(mode(&path), 0o600, "nobody else unless said");
    assert_eq!(
        proxy.wait_for("listening")["addr"],
        format!("unix:{}", path.display())
    );
    let mut client = connect(&path);
    let sent = [hello("a.example"), pattern(8 << 20, 1)].concat();
    let mut writer = client.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        assert!(read_to_end(&mut client) == sent, "other bytes came back");
    });
    let line = proxy.next_access();
    assert_eq!(
        (&line["client"], &line["outcome"]),
        (&"unix".into(), &"closed".into()),
        "{line}"
    );
    assert_eq!(line["received"], sent.len());
}

#[test]
fn no_address_is_in_any_range_of_addresses() {
    let (dir, path) = place();
    let backend = Backend::echo();
    let ranges = "[routes.a]\nsni = \"a.example\"\nfrom = [\"0.0.0.0/0\", \"::/0\"]\naction = \"passthrough\"\nupstream = ";
    let proxy = Proxy::start_in(
        dir,
        &format!("{}{ranges}\"{}\"\n", listener(&path, ""), backend.addr),
    );
    assert!(
        proxy
            .log()
            .contains("clients of a unix socket, who have no address"),
        "{}",
        proxy.log()
    );
    let mut client = connect(&path);
    client.write_all(&hello("a.example")).unwrap();
    assert_eq!(read_to_end(&mut client), alert(112));
    assert_eq!(backend.accepted(), 0);
}

#[test]
fn tls_is_terminated_for_curl_and_a_client_without_a_certificate_is_told_so() {
    let (dir, path) = place();
    let servers = authority(dir.path(), "servers");
    let clients = authority(dir.path(), "clients");
    write(
        dir.path(),
        "site",
        &servers.server(&["t.example"], Validity::days(20)).unwrap(),
    );
    write(
        dir.path(),
        "client",
        &clients.client("ada", Validity::days(20)).unwrap(),
    );
    let backend = Backend::serve(|mut stream| {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.extend(read_exact(&mut stream, 1));
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\ninside")
            .unwrap();
    });
    let config = format!(
        "{}[routes.t]\nsni = \"t.example\"\naction = \"terminate\"\ntls = \"mtls\"\nupstream = \"{}\"\n\
         [certificates.site]\ncert_file = \"site.pem\"\nkey_file = \"site-key.pem\"\n\
         [tls.mtls]\nclient_auth.ca_files = [\"clients.pem\"]\n",
        listener(&path, ""),
        backend.addr
    );
    let mut proxy = Proxy::start_in(dir, &config);
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--max-time",
        &PATIENCE.as_secs().to_string(),
        "--cacert",
        "servers.pem",
    ]);
    curl.args([
        "--cert",
        "client.pem",
        "--key",
        "client-key.pem",
        "--unix-socket",
    ])
    .arg(&path);
    let output = curl
        .arg("https://t.example/")
        .current_dir(proxy.dir())
        .output()
        .expect("curl");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "inside",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let line = proxy.next_access();
    assert_eq!(
        (&line["client"], &line["route"]),
        (&"unix".into(), &"t".into()),
        "{line}"
    );
    assert!(line["client_cert"].to_string().contains("ada"), "{line}");

    let mut openssl = Command::new("timeout");
    openssl.arg(PATIENCE.as_secs().to_string()).args([
        "openssl",
        "s_client",
        "-ign_eof",
        "-servername",
        "t.example",
    ]);
    let output = openssl
        .arg("-unix")
        .arg(&path)
        .stdin(Stdio::null())
        .output()
        .expect("openssl");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("SSL alert number 116"), "{text}");
    assert_eq!(proxy.next_access()["outcome"], "no_certificate");
    assert_eq!(backend.accepted(), 1);
}

#[test]
fn a_reload_keeps_the_socket_and_changes_who_may_connect() {
    let (dir, path) = place();
    let backend = Backend::echo();
    let route = passthrough("a.example", backend.addr);
    let proxy = Proxy::start_in(dir, &(listener(&path, ", mode = \"0660\"") + &route));
    assert_eq!(mode(&path), 0o660);
    let inode = fs::symlink_metadata(&path).unwrap().ino();
    let mut open = connect(&path);
    echo(&mut open, &hello("a.example"));
    proxy.reload(&(listener(&path, ", mode = \"0606\"") + &route));
    assert_eq!(mode(&path), 0o606);
    proxy.reload(&(listener(&path, "") + &route));
    assert_eq!(mode(&path), 0o600);
    assert_eq!(fs::symlink_metadata(&path).unwrap().ino(), inode);
    assert_eq!(proxy.count("listening"), 1);
    echo(&mut open, b"still here");
    echo(&mut connect(&path), &hello("a.example"));
}

#[test]
fn a_file_that_somebody_has_removed_is_made_again_by_a_reload() {
    let (dir, path) = place();
    let backend = Backend::echo();
    let proxy = Proxy::start_in(
        dir,
        &(listener(&path, "") + &passthrough("a.example", backend.addr)),
    );
    let mut open = connect(&path);
    echo(&mut open, &hello("a.example"));
    fs::remove_file(&path).unwrap();
    proxy.reload_after(|| proxy.signal(Signal::HUP));
    echo(&mut connect(&path), &hello("a.example"));
    echo(&mut open, b"still here");
}

#[test]
fn a_listener_that_is_removed_takes_its_file_along_and_one_that_comes_back_has_it_again() {
    let (dir, path) = place();
    let backend = Backend::echo();
    let route = passthrough("a.example", backend.addr);
    let other = "[listeners.other]\nbind = \"127.0.0.1:0\"\n";
    let both = format!("{}{other}{route}", listener(&path, ""));
    let proxy = Proxy::start_in(dir, &both);
    let mut open = connect(&path);
    echo(&mut open, &hello("a.example"));
    proxy.reload(&format!("{other}{route}"));
    assert!(!path.exists());
    echo(&mut open, b"still here");
    proxy.reload(&both);
    echo(&mut connect(&path), &hello("a.example"));
}

#[test]
fn whoever_is_queued_at_a_stop_is_served_and_the_file_is_gone() {
    let (dir, path) = place();
    let backend = Backend::greet(b"welcome");
    let proxy = Proxy::start_in(
        dir,
        &(listener(&path, "") + &passthrough("a.example", backend.addr)),
    );
    proxy.signal(Signal::STOP);
    let queued: Vec<UnixStream> = (0..100)
        .map(|_| {
            let mut stream = connect(&path);
            stream.write_all(&hello("a.example")).unwrap();
            stream
        })
        .collect();
    proxy.signal(Signal::TERM);
    proxy.signal(Signal::CONT);
    for mut stream in queued {
        assert_eq!(read_to_end(&mut stream), b"welcome");
    }
    let (status, log) = proxy.wait_for_exit_keeping(|| assert!(!path.exists()));
    assert!(status.success(), "{log}");
}

#[test]
fn the_socket_of_another_process_at_the_same_path_is_left_alone_at_a_stop() {
    let (dir, path) = place();
    let backend = Backend::echo();
    let proxy = Proxy::start_in(
        dir,
        &(listener(&path, "") + &passthrough("a.example", backend.addr)),
    );
    fs::remove_file(&path).unwrap();
    let successor = UnixListener::bind(&path).unwrap();
    proxy.signal(Signal::TERM);
    let (status, log) = proxy
        .wait_for_exit_keeping(|| drop(UnixStream::connect(&path).expect("it is still there")));
    assert!(status.success(), "{log}");
    drop(successor);
}

#[test]
fn a_file_that_a_killed_process_has_left_is_replaced() {
    let (dir, path) = place();
    let backend = Backend::echo();
    let config = listener(&path, "") + &passthrough("a.example", backend.addr);
    let killed = Proxy::start_in(directory(), &config);
    drop(killed);
    assert!(path.exists(), "SIGKILL leaves it");
    let _proxy = Proxy::start_in(dir, &config);
    echo(&mut connect(&path), &hello("a.example"));
}

#[test]
fn haproxy_hands_its_clients_over() {
    let (dir, path) = place();
    let backend = Backend::echo();
    let front = dir.path().join("front.sock");
    let text = format!(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
         listen front\n bind unix@{}\n server edge unix@{}\n",
        front.display(),
        path.display()
    );
    fs::write(dir.path().join("haproxy.cfg"), text).unwrap();
    let mut haproxy = Command::new("haproxy");
    haproxy
        .arg("-db")
        .arg("-f")
        .arg(dir.path().join("haproxy.cfg"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if lacks(&["haproxy"]) {
        return;
    }
    let mut haproxy = haproxy.spawn().unwrap();
    let mut proxy = Proxy::start_in(
        dir,
        &(listener(&path, ", mode = \"0666\"") + &passthrough("a.example", backend.addr)),
    );
    proxy.poll_until("haproxy listens", |_| UnixStream::connect(&front).is_ok());
    let mut client = connect(&front);
    echo(&mut client, &hello("a.example"));
    echo(&mut client, &pattern(100_000, 3));
    drop(client);
    let line = proxy.next_access();
    assert_eq!(
        (&line["client"], &line["sni"]),
        (&"unix".into(), &"a.example".into()),
        "{line}"
    );
    haproxy.kill().unwrap();
    haproxy.wait().unwrap();
}
