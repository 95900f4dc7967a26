//! `snigate demo`: a CA behind passthrough and an app behind mutual TLS, in one process, with
//! certificates that live as long as it does.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cli::files::{self, NewFile, Readers};
use crate::cli::{print, runtime};
use crate::daemon;
use crate::net::Inherited;
use crate::pki::{Authority, Issued, Validity};
use crate::tls::{Acceptor, AcceptorOptions, Certificate};

/// The port that the printed commands are shortest with; another one is taken where this one is not
/// free.
const PORT: u16 = 8443;

/// The name that the CA has a certificate for.
const CA_NAME: &str = "ca.example.net";

/// No request of curl or openssl is longer.
const MAX_REQUEST: usize = 8 * 1024;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    let directory = Directory::new()?;
    let result = runtime.block_on(serve(&directory.0));
    result.map(|()| ExitCode::SUCCESS)
}

async fn serve(directory: &Path) -> anyhow::Result<()> {
    let authority = certificates(directory)?;
    let ca = TcpListener::bind("127.0.0.1:0").await?;
    let app = TcpListener::bind("127.0.0.1:0").await?;
    let port = free_port().await?;
    let config = directory.join("snigate.toml");
    fs::write(
        &config,
        configuration(port, ca.local_addr()?, app.local_addr()?),
    )?;
    let mut servers = JoinSet::new();
    servers.spawn(play_ca(
        ca,
        authority.server(&[CA_NAME], Validity::days(30))?,
    ));
    servers.spawn(play_app(app));
    print(&instructions(directory, port))?;
    daemon::run(config, Inherited::default()).await?;
    Ok(())
}

/// A directory of its own, removed when it is dropped.
struct Directory(PathBuf);

impl Directory {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("snigate-demo-{}", std::process::id()));
        // For this user alone, and never a directory that was there before.
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed from the temporary directory, others will remove.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn certificates(directory: &Path) -> anyhow::Result<Authority> {
    let authority = Authority::new("snigate demo CA", Validity::days(30))?;
    fs::write(directory.join("ca.pem"), authority.certificate())?;
    let app = authority.server(&["app.example.net"], Validity::days(30))?;
    let client = authority.client("demo client", Validity::days(30))?;
    for (name, issued) in [("app", app), ("client", client)] {
        let (certificate, key) = (
            directory.join(format!("{name}.pem")),
            directory.join(format!("{name}-key.pem")),
        );
        let key = NewFile {
            path: &key,
            content: issued.key.as_bytes(),
            readers: Readers::Owner,
        };
        let content = issued.certificate.as_bytes();
        let certificate = NewFile {
            path: &certificate,
            content,
            readers: Readers::Everybody,
        };
        files::write(&[key, certificate], false)?;
    }
    Ok(authority)
}

async fn free_port() -> anyhow::Result<u16> {
    let listener = match TcpListener::bind(("127.0.0.1", PORT)).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind("127.0.0.1:0").await?,
    };
    Ok(listener.local_addr()?.port())
}

fn configuration(port: u16, ca: SocketAddr, app: SocketAddr) -> String {
    format!(
        r#"# The configuration of the demo. Change it while the demo runs.

[listeners.edge]
bind = "127.0.0.1:{port}"

[routes.ca]                      # never intercepted
sni = "ca.example.net"
action = "passthrough"
upstream = "{ca}"

[routes.app]                     # only for clients with a certificate of the CA
sni = "app.example.net"
action = "terminate"
tls = "mtls"
upstream = "{app}"

[tls.mtls]
client_auth.mode = "require_and_verify"
client_auth.ca_files = ["ca.pem"]

[certificates.app]
cert_file = "app.pem"
key_file = "app-key.pem"
"#
    )
}

fn instructions(directory: &Path, port: u16) -> String {
    let dir = directory.display();
    let to = |name: &str| format!("--cacert {dir}/ca.pem --resolve {name}:{port}:127.0.0.1");
    format!(
        "A CA that is passed through, and an app behind mutual TLS, on 127.0.0.1:{port}. Try, in another terminal:

  # the CA answers with its own certificate; snigate has no key for it
  curl {ca} https://ca.example.net:{port}/

  # the app, without a certificate: refused (certificate required)
  curl {app} https://app.example.net:{port}/

  # the app, with a certificate of the CA
  curl {app} --cert {dir}/client.pem --key {dir}/client-key.pem https://app.example.net:{port}/

  # a name that no route lists: refused (unrecognized name)
  openssl s_client -connect 127.0.0.1:{port} -servername other.example.net </dev/null

  # the configuration; it is read again when you change it
  cat {dir}/snigate.toml

Stop with Ctrl-C, and all of it is removed. What follows is the log.

",
        ca = to("ca.example.net"),
        app = to("app.example.net"),
    )
}

/// A TLS server of its own behind the passthrough route.
async fn play_ca(listener: TcpListener, issued: Issued) -> anyhow::Result<()> {
    let certificate = Certificate::load(issued.certificate.as_bytes(), issued.key.as_bytes())?;
    let acceptor = Arc::new(Acceptor::new(
        vec![Arc::new(certificate)],
        &AcceptorOptions::default(),
        false,
    )?);
    let mut clients = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        let acceptor = Arc::clone(&acceptor);
        clients.spawn(async move {
            let name = CA_NAME.parse().ok();
            let choice = acceptor.select(name.as_ref(), || None)?;
            let accepted = choice.accept(stream.into(), &[], name.as_ref()).await;
            answer(
                accepted.ok()?.into_stream(),
                "This is the CA. The proxy passed your TLS through and cannot read this.\n",
            )
            .await
        });
        while clients.try_join_next().is_some() {}
    }
}

/// A plain HTTP server behind the terminating route.
async fn play_app(listener: TcpListener) -> anyhow::Result<()> {
    let mut clients = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        clients.spawn(answer(
            stream,
            "This is the app. The proxy has verified your certificate.\n",
        ));
        while clients.try_join_next().is_some() {}
    }
}

/// Reads one HTTP request and answers it.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, body: &str) -> Option<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < MAX_REQUEST {
        let read = timeout(Duration::from_secs(10), stream.read_buf(&mut request)).await;
        if read.ok()?.ok()? == 0 {
            return None;
        }
    }
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream
        .write_all(format!("{head}{body}").as_bytes())
        .await
        .ok()?;
    stream.shutdown().await.ok()
}
