//! A stream of records against an independent driver of TLS on the other side.

use std::future::poll_fn;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::task::Waker;

use proptest::prelude::*;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

/// Both ends of a connection after its handshake: the client's, and ours.
pub(crate) async fn pair() -> (TlsStream<TcpStream>, Tls) {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = CertificateDer::from(signed.cert.der().to_vec());
    let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let connects = async {
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(client))
            .connect(name, tcp)
            .await
            .unwrap()
    };
    let accepts = async {
        let (tcp, _) = listener.accept().await.unwrap();
        Tls::accept(tcp, Arc::new(server)).await.unwrap()
    };
    tokio::join!(connects, accepts)
}

fn on_sockets<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test)
}

/// What an idle stream keeps.
fn kept(tls: &Tls) -> usize {
    tls.incoming.capacity() + tls.opened.capacity() + tls.sealed.capacity()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_either_side_says_arrives_as_it_was_said(
        up in proptest::collection::vec(any::<u8>(), 0..200_000),
        down in proptest::collection::vec(any::<u8>(), 0..200_000),
        cuts in proptest::collection::vec(1usize..70_000, 1..6),
        room in 1usize..100_000,
    ) {
        on_sockets(async {
            let (client, mut tls) = pair().await;
            let (mut client_in, mut client_out) = tokio::io::split(client);
            let says = async {
                let mut rest = &up[..];
                for cut in cuts.iter().cycle() {
                    let (now, later) = rest.split_at(rest.len().min(*cut));
                    client_out.write_all(now).await.unwrap();
                    rest = later;
                    if rest.is_empty() {
                        break;
                    }
                }
                client_out.shutdown().await.unwrap();
            };
            let hears = async {
                let mut heard = Vec::new();
                client_in.read_to_end(&mut heard).await.unwrap();
                heard
            };
            let ours = async {
                let (mut heard, mut written) = (Vec::new(), 0);
                let mut buffer = vec![0; room];
                let mut ended = false;
                poll_fn(|cx| loop {
                    let read = match tls.poll_read_bytes(cx, &mut buffer) {
                        _ if ended => false,
                        Poll::Pending => false,
                        Poll::Ready(read) => {
                            let read = read.unwrap();
                            ended = read == 0;
                            heard.extend_from_slice(&buffer[..read]);
                            true
                        }
                    };
                    let flushed = match tls.poll_flush(cx) {
                        Some(Poll::Pending) => false,
                        Some(Poll::Ready(flushed)) => flushed.unwrap() > 0,
                        None if written == down.len() => {
                            if ended {
                                return Poll::Ready(());
                            }
                            false
                        }
                        None => match tls.poll_write_bytes(cx, &down[written..]) {
                            Poll::Pending => false,
                            Poll::Ready(more) => {
                                written += more.unwrap();
                                true
                            }
                        },
                    };
                    if !read && !flushed {
                        return Poll::Pending;
                    }
                })
                .await;
                assert_eq!(kept(&tls), 0, "an idle stream keeps a buffer");
                // Tells that it is the end, without which the client would report an attack.
                drop(tls);
                heard
            };
            let ((), client_heard, we_heard) = tokio::join!(says, hears, ours);
            assert!(client_heard == down);
            assert!(we_heard == up);
        });
    }
}

#[tokio::test]
async fn small_pieces_share_records_of_the_longest_kind() {
    let (client, mut tls) = pair().await;
    // From here the client only looks at what the records are.
    let (mut tcp, _) = client.into_inner();
    let piece = [7; 1000];
    let slices = [IoSlice::new(&piece); 100];
    let written = poll_fn(|cx| tls.poll_write_slices(cx, &slices)).await;
    assert_eq!(written.unwrap(), 100_000);
    while let Some(flushed) = poll_fn(|cx| match tls.poll_flush(cx) {
        None => Poll::Ready(None),
        Some(flushed) => flushed.map(Some),
    })
    .await
    {
        flushed.unwrap();
    }
    drop(tls);
    let mut wire = Vec::new();
    tcp.read_to_end(&mut wire).await.unwrap();
    let (mut records, mut rest) = (Vec::new(), &wire[..]);
    while let Some(head) = rest.first_chunk::<5>() {
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        records.push(length);
        rest = &rest[5 + length..];
    }
    // What is not data is short: the tickets that the client has not read, and the last word.
    let data: Vec<usize> = records.into_iter().filter(|length| *length > 500).collect();
    let sealed = |payload: usize| payload + 17;
    let full = sealed(16 << 10);
    let last = sealed(100_000 - 6 * (16 << 10));
    assert_eq!(data, [full, full, full, full, full, full, last]);
}

#[tokio::test]
async fn nothing_is_sealed_for_a_socket_that_takes_nothing() {
    let (client, mut tls) = pair().await;
    // So little that the runtime does not want its turn before the socket is full.
    let tcp = socket2::SockRef::from(tls.tcp());
    tcp.set_send_buffer_size(16 << 10).unwrap();
    let bytes = vec![7; 1 << 20];
    let mut cx = Context::from_waker(Waker::noop());
    let mut taken = 0;
    while let Poll::Ready(written) = tls.poll_write_bytes(&mut cx, &bytes) {
        taken += written.unwrap();
        assert!(
            taken < 64 << 20,
            "a client that reads nothing took {taken} bytes"
        );
    }
    let sealed = tls.sealed.len();
    assert!(sealed > 0 && sealed <= CHUNK + OVERHEAD, "{sealed} bytes");
    for _ in 0..10 {
        assert!(tls.poll_write_bytes(&mut cx, &bytes).is_pending());
        assert!(matches!(tls.poll_flush(&mut cx), Some(Poll::Pending)));
        assert_eq!(tls.sealed.len(), sealed);
    }
    drop(client);
}

#[tokio::test]
async fn who_ends_without_a_word_has_ended_all_the_same() {
    let (client, mut tls) = pair().await;
    // The end of TCP, and nothing of TLS before it.
    let (mut tcp, _) = client.into_inner();
    tcp.shutdown().await.unwrap();
    let mut buffer = [0; 16];
    let read = poll_fn(|cx| tls.poll_read_bytes(cx, &mut buffer)).await;
    assert_eq!(read.unwrap(), 0);
}

#[tokio::test]
async fn a_record_that_was_changed_on_the_way_ends_the_stream() {
    let (client, mut tls) = pair().await;
    let (mut tcp, _) = client.into_inner();
    let mut record = vec![23, 3, 3, 0, 40];
    record.extend([9; 40]);
    tcp.write_all(&record).await.unwrap();
    let mut buffer = [0; 64];
    for _ in 0..2 {
        let read = poll_fn(|cx| tls.poll_read_bytes(cx, &mut buffer)).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
    let written = poll_fn(|cx| tls.poll_write_bytes(cx, b"more")).await;
    assert!(written.is_err());
}
