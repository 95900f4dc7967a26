//! TLS between the client and the relay.

use std::io::ErrorKind;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, server};

use super::support::{
    acknowledged, both_ways, narrow_pair, noise, pair, read_all, reset, run, within,
};
use crate::net::{Stream, Transport};
use crate::relay::{Meter, Moved, OnTruncation, RelayError, RelayOptions, Side};

/// A TLS client, and the stream that the relay has of it.
pub(super) async fn handshake(pair: (TcpStream, TcpStream)) -> (TlsStream<TcpStream>, Stream) {
    let (near, far) = sessions((pair.0, Transport::from(pair.1))).await;
    (near, Stream::Tls(Box::new(far)))
}

/// The client's and the server's end of a TLS session.
pub(super) async fn sessions<N, S>((near, far): (N, S)) -> (TlsStream<N>, server::TlsStream<S>)
where
    N: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![cert.der().clone()],
            PrivatePkcs8KeyDer::from(signing_key.serialize_der()).into(),
        )
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("a.example").unwrap();
    let (near, far) = tokio::join!(
        TlsConnector::from(Arc::new(client)).connect(name, near),
        TlsAcceptor::from(Arc::new(server)).accept(far),
    );
    (near.unwrap(), far.unwrap())
}

#[tokio::test]
async fn tls_client_with_and_without_close_notify_still_receives_the_answer() {
    for truncated in [false, true] {
        let ((mut client, inner), (outer, mut server)) =
            (handshake(pair().await).await, pair().await);
        let meter = Meter::default();
        let relay = run(inner, Stream::Tcp(outer), &meter, RelayOptions::default());
        let peers = async {
            client.write_all(b"question").await.unwrap();
            if truncated {
                SockRef::from(client.get_ref().0)
                    .shutdown(Shutdown::Write)
                    .unwrap();
            } else {
                client.shutdown().await.unwrap();
            }
            assert_eq!(read_all(&mut server).await, b"question");
            server.write_all(b"the answer").await.unwrap();
            drop(server);
            // An error here would say that the relay's own close_notify is missing.
            assert_eq!(read_all(&mut client).await, b"the answer");
        };
        within(async { tokio::join!(relay, peers) })
            .await
            .0
            .unwrap();
        assert_eq!(
            meter.read(),
            Moved {
                sent: 10,
                received: 8,
                client_truncated: truncated,
                ..Moved::default()
            }
        );
    }
}

#[tokio::test]
async fn a_server_without_tls_sees_a_reset_where_a_truncated_end_is_to_be_one() {
    for truncated in [true, false] {
        let ((mut client, inner), (outer, mut server)) =
            (handshake(pair().await).await, pair().await);
        let meter = Meter::default();
        let options = RelayOptions {
            on_truncation: OnTruncation::Reset,
            ..RelayOptions::default()
        };
        let relay = run(inner, Stream::Tcp(outer), &meter, options);
        let peers = async {
            client.write_all(b"question").await.unwrap();
            if truncated {
                SockRef::from(client.get_ref().0)
                    .shutdown(Shutdown::Write)
                    .unwrap();
            } else {
                client.shutdown().await.unwrap();
            }
            let mut received = Vec::new();
            let ended = server.read_to_end(&mut received).await;
            drop(server);
            ended.map(|_| received)
        };
        let (result, ended) = within(async { tokio::join!(relay, peers) }).await;
        assert_eq!(meter.read().client_truncated, truncated);
        if truncated {
            assert!(
                matches!(result, Err(RelayError::Reset(Side::Client))),
                "{result:?}"
            );
            assert_eq!(ended.unwrap_err().kind(), ErrorKind::ConnectionReset);
        } else {
            result.unwrap();
            assert_eq!(ended.unwrap(), b"question");
        }
    }
}

/// The bytes that are still under way are no reason to end with a FIN, and neither is a client that
/// is only silent.
#[tokio::test]
async fn a_server_without_tls_sees_a_reset_however_a_client_ends_without_close_notify() {
    for ends in [
        FlowStreams::Reset,
        FlowStreams::FinAndReset,
        FlowStreams::Silent,
    ] {
        let ((mut client, inner), (mut server, outer)) =
            (handshake(pair().await).await, narrow_pair().await);
        let meter = Meter::default();
        let idle = (ends == FlowStreams::Silent).then_some(Duration::from_millis(200));
        let options = RelayOptions {
            on_truncation: OnTruncation::Reset,
            idle,
            ..RelayOptions::default()
        };
        let relay = run(inner, Stream::Tcp(outer), &meter, options);
        let peers = async {
            let question = noise(
                if ends == FlowStreams::Silent {
                    8
                } else {
                    96 * 1024
                },
                5,
            );
            client.write_all(&question).await.unwrap();
            client.flush().await.unwrap();
            acknowledged(client.get_ref().0).await;
            let mut silent = None;
            match ends {
                FlowStreams::Reset => {
                    SockRef::from(client.get_ref().0)
                        .set_linger(Some(Duration::ZERO))
                        .unwrap();
                    drop(client);
                }
                FlowStreams::FinAndReset => {
                    drop(client);
                    // A peer that is gone answers this with a reset.
                    for _ in 0..2 {
                        server.write_all(b"answer").await.unwrap();
                        acknowledged(&server).await;
                    }
                }
                FlowStreams::Silent => silent = Some(client),
            }
            let ended = server.read_to_end(&mut Vec::new()).await;
            drop((server, silent));
            ended
        };
        let (result, ended) = within(async { tokio::join!(relay, peers) }).await;
        assert!(result.is_err(), "{ends:?}");
        assert_eq!(
            ended.map_err(|error| error.kind()),
            Err(ErrorKind::ConnectionReset),
            "{ends:?}"
        );
    }
}

/// How a client ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FlowStreams {
    Reset,
    FinAndReset,
    Silent,
}

#[tokio::test]
async fn tls_bytes_are_exact_both_ways_and_the_last_of_them_are_flushed() {
    let ((client, inner), (outer, server)) = (handshake(narrow_pair().await).await, pair().await);
    let meter = Meter::default();
    let relay = run(inner, Stream::Tcp(outer), &meter, RelayOptions::default());
    within(async { tokio::join!(relay, both_ways(client, server)) })
        .await
        .0
        .unwrap();
    assert_eq!(
        (meter.read().sent, meter.read().received),
        (2_000_003, 2_000_003)
    );
}

#[tokio::test]
async fn tls_client_sees_the_reset_of_the_server() {
    let ((mut client, inner), (outer, server)) = (handshake(pair().await).await, pair().await);
    let meter = Meter::default();
    let relay = run(inner, Stream::Tcp(outer), &meter, RelayOptions::default());
    let peers = async {
        client.write_all(b"question").await.unwrap();
        server.readable().await.unwrap();
        acknowledged(client.get_ref().0).await;
        reset(server);
        client
            .read(&mut [0; 8])
            .await
            .expect_err("an abort must not look like a clean end")
    };
    let (result, error) = within(async { tokio::join!(relay, peers) }).await;
    assert!(
        matches!(result, Err(RelayError::Reset(Side::Server))),
        "{result:?}"
    );
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn tls_client_receives_what_was_queued_but_no_close_notify_after_a_reset() {
    let ((mut client, inner), (outer, mut server)) =
        (handshake(narrow_pair().await).await, pair().await);
    let answer = noise(96 * 1024, 3);
    let meter = Meter::default();
    let relay = run(inner, Stream::Tcp(outer), &meter, RelayOptions::default());
    let peers = async {
        server.write_all(&answer).await.unwrap();
        acknowledged(&server).await;
        reset(server);
        let mut received = Vec::new();
        let error = client
            .read_to_end(&mut received)
            .await
            .expect_err("the answer may be incomplete");
        assert!(received == answer);
        drop(client);
        error
    };
    let (result, error) = within(async { tokio::join!(relay, peers) }).await;
    assert!(
        matches!(result, Err(RelayError::Reset(Side::Server))),
        "{result:?}"
    );
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

/// The server has said everything, and is gone when the client still sends: the abort takes nothing
/// from the answer.
#[tokio::test]
async fn tls_client_receives_a_close_notify_when_a_clean_end_came_before_the_reset() {
    let ((mut client, inner), (outer, mut server)) =
        (handshake(narrow_pair().await).await, pair().await);
    let answer = noise(96 * 1024, 4);
    server.write_all(&answer).await.unwrap();
    acknowledged(&server).await;
    drop(server);
    let meter = Meter::default();
    let relay = run(inner, Stream::Tcp(outer), &meter, RelayOptions::default());
    let peers = async {
        for _ in 0..8 {
            client.write_all(b"more").await.unwrap();
            acknowledged(client.get_ref().0).await;
        }
        assert!(read_all(&mut client).await == answer);
        drop(client);
    };
    let (result, ()) = within(async { tokio::join!(relay, peers) }).await;
    assert!(
        matches!(result, Err(RelayError::Reset(Side::Server))),
        "{result:?}"
    );
}
