//! Bytes through a tunnel over real sockets: whatever is said, however it is cut, whoever goes first.

use std::net::Ipv4Addr;

use http::HeaderMap;
use proptest::prelude::*;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::super::follower::tests::{any_frame, frame};
use super::super::transits::Transits;
use super::*;

const STALL: Duration = Duration::from_secs(30);
const TEXT: u8 = 1;

/// The two far ends of a tunnel: the client's, and that of the pod with the room.
struct Ends {
    client: TcpStream,
    owner: TcpStream,
    transits: Transits,
    task: JoinHandle<()>,
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

async fn ends() -> Ends {
    stalling(STALL, Way::Wide).await
}

/// How much the sockets between tunnel and owner hold.
#[derive(Debug, Clone, Copy)]
enum Way {
    Wide,
    Narrow,
}

async fn stalling(stall: Duration, way: Way) -> Ends {
    ends_with(stall, way, Vec::new(), Vec::new()).await
}

async fn ends_with(stall: Duration, way: Way, of_client: Vec<u8>, of_owner: Vec<u8>) -> Ends {
    let (client, near_client) = pair().await;
    let (owner, near_owner) = pair().await;
    if let Way::Narrow = way {
        let (near, far) = (SockRef::from(&near_owner), SockRef::from(&owner));
        near.set_send_buffer_size(1).unwrap();
        far.set_recv_buffer_size(1).unwrap();
    }
    let transits = Transits::default();
    let line = Line {
        headers: HeaderMap::new(),
        stream: near_owner,
        early: of_owner,
    };
    let near_client = Socket::Tcp(near_client);
    let tunnel = Tunnel::new(near_client, of_client, line, stall, transits.enter(None));
    Ends {
        client,
        owner,
        transits,
        task: TaskTracker::new().spawn(tunnel),
    }
}

/// Everything up to the end of the stream.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    all
}

async fn exactly(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    codec::put_close(&mut frame, Some(code), reason);
    frame
}

fn drained() -> Close {
    Close::new(Close::RESTART, "server draining")
}

fn on_sockets<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_either_side_says_arrives_as_it_was_said(
        frames in proptest::collection::vec(any_frame(), 0..5),
        said in proptest::collection::vec(any::<u8>(), 0..3000),
        cuts in proptest::collection::vec(1usize..70_000, 1..6),
        early in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let stream = [frames.concat(), close_frame(4001, "enough")].concat();
        on_sockets(async {
            let (of_client, later_up) = said.split_at(early.0.index(said.len() + 1));
            let (of_owner, later_down) = stream.split_at(early.1.index(stream.len() + 1));
            let ends = ends_with(STALL, Way::Wide, of_client.to_vec(), of_owner.to_vec()).await;
            let (mut client_in, mut client_out) = ends.client.into_split();
            let (mut owner_in, mut owner_out) = ends.owner.into_split();
            let chop = |bytes: &[u8]| {
                let (mut pieces, mut rest) = (Vec::new(), bytes);
                let mut sizes = cuts.iter().cycle();
                while !rest.is_empty() {
                    let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                    pieces.push(piece.to_vec());
                    rest = after;
                }
                pieces
            };
            let (up, down) = (chop(later_up), chop(later_down));
            let client_says = async {
                for piece in up {
                    client_out.write_all(&piece).await.unwrap();
                }
                client_out.shutdown().await.unwrap();
            };
            let owner_says = async {
                for piece in down {
                    owner_out.write_all(&piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
                owner_out.shutdown().await.unwrap();
            };
            let (mut heard_up, mut heard_down) = (Vec::new(), Vec::new());
            // The owner speaks its last only once the client has, as a server does.
            let owner_hears = owner_in.read_to_end(&mut heard_up);
            let owner = async { owner_hears.await.unwrap(); owner_says.await };
            let client_hears = client_in.read_to_end(&mut heard_down);
            let (_, _, heard) = tokio::join!(client_says, owner, client_hears);
            heard.unwrap();
            assert!(heard_up == said, "up: {} of {}", heard_up.len(), said.len());
            assert!(heard_down == stream, "down: {} of {}", heard_down.len(), stream.len());
            ends.task.await.unwrap();
            assert!(ends.transits.is_empty());
        });
    }

    #[test]
    fn at_the_end_of_all_transits_the_client_reads_whole_frames_and_then_why(
        frames in proptest::collection::vec(any_frame(), 1..5),
        sent in any::<prop::sample::Index>(),
    ) {
        let stream = frames.concat();
        on_sockets(async {
            let mut ends = ends().await;
            let sent = sent.index(stream.len() + 1);
            // What was heard before the order comes is certain; the rest may be on its way.
            ends.owner.write_all(&stream[..sent]).await.unwrap();
            let mut heard = exactly(&mut ends.client, sent).await;
            ends.transits.drain(drained());
            let mut boundary = 0;
            for frame in &frames {
                if boundary < sent {
                    boundary += frame.len();
                }
            }
            // Inside a frame the owner is waited for; all it says behind that is not heard.
            let (mut owner_in, mut owner_out) = ends.owner.into_split();
            let goes_on = async {
                let _ = owner_out.write_all(&stream[sent..]).await;
            };
            let (_, after) = tokio::join!(goes_on, rest(&mut ends.client));
            heard.extend(after);
            let told = close_frame(Close::RESTART, "server draining");
            assert!(heard == [&stream[..boundary], &told].concat());
            drop(ends.client);
            ends.task.await.unwrap();
            // The owner sees that its client is gone.
            let _ = owner_in.read_to_end(&mut Vec::new()).await;
        });
    }
}

#[tokio::test]
async fn who_comes_after_the_order_to_end_is_told_at_once() {
    let mut first = ends().await;
    first.transits.drain(drained());
    assert_eq!(
        rest(&mut first.client).await,
        close_frame(1012, "server draining")
    );
    drop(first.client);
    first.transits.all_gone().await;
    let (mut client, near_client) = pair().await;
    let (_owner, near_owner) = pair().await;
    let line = Line {
        headers: HeaderMap::new(),
        stream: near_owner,
        early: frame(TEXT, 5, false),
    };
    let transit = first.transits.enter(None);
    assert_eq!(first.transits.len(), 1);
    let tunnel = Tunnel::new(Socket::Tcp(near_client), Vec::new(), line, STALL, transit);
    let task = TaskTracker::new().spawn(tunnel);
    assert_eq!(
        rest(&mut client).await,
        close_frame(1012, "server draining")
    );
    drop(client);
    task.await.unwrap();
}

#[tokio::test]
async fn a_client_whose_pod_is_lost_between_frames_is_told() {
    let mut ends = ends().await;
    let whole = frame(TEXT, 300, false);
    ends.owner.write_all(&whole).await.unwrap();
    assert_eq!(exactly(&mut ends.client, whole.len()).await, whole);
    drop(ends.owner);
    let told = rest(&mut ends.client).await;
    assert_eq!(told, close_frame(1012, "the room's server was lost"));
    // Only when it hangs up, or takes too long to, is it over.
    assert_eq!(ends.transits.len(), 1);
    drop(ends.client);
    ends.task.await.unwrap();
}

#[tokio::test]
async fn a_client_whose_pod_is_lost_inside_a_frame_reads_no_more() {
    let mut ends = ends().await;
    let whole = frame(TEXT, 300, false);
    ends.owner.write_all(&whole[..200]).await.unwrap();
    assert_eq!(exactly(&mut ends.client, 200).await, whole[..200]);
    drop(ends.owner);
    assert_eq!(rest(&mut ends.client).await, b"");
    ends.task.await.unwrap();
}

#[tokio::test]
async fn the_close_of_the_pod_with_the_room_is_passed_on_and_answered() {
    let mut ends = ends().await;
    let close = close_frame(4000, "kicked");
    ends.owner.write_all(&close).await.unwrap();
    assert_eq!(exactly(&mut ends.client, close.len()).await, close);
    ends.client.write_all(b"the answer").await.unwrap();
    assert_eq!(exactly(&mut ends.owner, 10).await, b"the answer");
    drop(ends.owner);
    assert_eq!(
        rest(&mut ends.client).await,
        b"",
        "nothing is put behind it"
    );
    drop(ends.client);
    ends.task.await.unwrap();
}

#[tokio::test]
async fn a_client_that_hangs_up_is_gone_for_the_owner_too() {
    let mut ends = ends().await;
    drop(ends.client);
    assert_eq!(rest(&mut ends.owner).await, b"");
    drop(ends.owner);
    ends.task.await.unwrap();
    assert!(ends.transits.is_empty());
}

/// Writes until nothing more is taken for a while.
async fn fill(stream: &mut TcpStream, piece: &[u8]) -> usize {
    let mut sent = 0;
    while let Ok(written) =
        tokio::time::timeout(Duration::from_millis(200), stream.write(piece)).await
    {
        sent += written.unwrap();
    }
    sent
}

#[tokio::test]
async fn one_direction_goes_on_while_the_other_is_stuck() {
    let mut ends = ends().await;
    let piece = vec![7; 64 << 10];
    let up = fill(&mut ends.client, &piece).await;
    assert!(up > READ);
    let whole = frame(TEXT, 300, false);
    ends.owner.write_all(&whole).await.unwrap();
    assert_eq!(exactly(&mut ends.client, whole.len()).await, whole);
    // And the other way: what is stuck flows again, while now the other is.
    let stuck = fill(&mut ends.owner, &frame(2, 60_000, false)).await;
    assert!(stuck > READ);
    assert_eq!(exactly(&mut ends.owner, up).await.len(), up);
    drop((ends.client, ends.owner));
    ends.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_given_up() {
    let mut ends = stalling(Duration::from_millis(50), Way::Wide).await;
    let piece = frame(2, 60_000, false);
    // Until the owner's own socket is full, or the tunnel has hung up.
    while let Ok(Ok(_)) = tokio::time::timeout(STALL, ends.owner.write(&piece)).await {}
    ends.task.await.unwrap();
    assert!(ends.transits.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_behind_what_its_room_does_not_take_is_given_up() {
    let mut ends = stalling(Duration::from_millis(50), Way::Narrow).await;
    // More than the way to the owner holds, so that something waits in the tunnel; but not so much
    // that the client's end of the stream could not follow.
    let said = vec![7; READ + (READ >> 1)];
    ends.client.write_all(&said).await.unwrap();
    drop(ends.client);
    ends.task.await.unwrap();
    drop(ends.owner);
}

#[test]
fn an_idle_tunnel_is_small() {
    let own = size_of::<Tunnel>();
    assert!(own <= 400, "{own} bytes");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_room_that_takes_nothing_for_long_is_no_pod_that_is_lost() {
    let (mut client, near_client) = pair().await;
    let (mut owner, near_owner) = pair().await;
    let (near, far) = (SockRef::from(&near_owner), SockRef::from(&owner));
    near.set_send_buffer_size(1).unwrap();
    far.set_recv_buffer_size(1).unwrap();
    limit_silence(&near_owner, true);
    let watched = socket2::Socket::from(
        std::os::fd::AsFd::as_fd(&near_owner)
            .try_clone_to_owned()
            .unwrap(),
    );
    let limit = || watched.tcp_user_timeout().unwrap();
    let usual = limit();
    assert!(usual.is_some());
    let line = Line {
        headers: HeaderMap::new(),
        stream: near_owner,
        early: Vec::new(),
    };
    let transits = Transits::default();
    let transit = transits.enter(None);
    let tunnel = Tunnel::new(Socket::Tcp(near_client), Vec::new(), line, STALL, transit);
    let task = TaskTracker::new().spawn(tunnel);
    // The kernel would give the connection up, though every probe of it is answered.
    let said = vec![7; READ + (READ >> 1)];
    client.write_all(&said).await.unwrap();
    let lifted = async {
        while limit().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(STALL, lifted).await.unwrap();
    assert_eq!(exactly(&mut owner, said.len()).await, said);
    // A pod that is lost is found out as before.
    let restored = async {
        while limit() != usual {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(STALL, restored).await.unwrap();
    drop((client, owner));
    task.await.unwrap();
}

#[tokio::test]
async fn a_client_over_tls_hears_all_and_then_why() {
    let (mut client, tls) = crate::ws::tls::tests::pair().await;
    let (mut owner, near_owner) = pair().await;
    let line = Line {
        headers: HeaderMap::new(),
        stream: near_owner,
        early: Vec::new(),
    };
    let transits = Transits::default();
    let socket = Socket::Tls(Box::new(tls));
    let tunnel = Tunnel::new(socket, Vec::new(), line, STALL, transits.enter(None));
    let task = TaskTracker::new().spawn(tunnel);
    // More than the sockets hold, and nothing behind it that could push it on.
    let whole = frame(TEXT, 8 << 20, false);
    let (mut owner_in, mut owner_out) = owner.split();
    let says = owner_out.write_all(&whole);
    let mut heard = vec![0; whole.len()];
    let (said, read) = tokio::join!(says, client.read_exact(&mut heard));
    said.unwrap();
    read.unwrap();
    assert!(heard == whole);
    client.write_all(b"up").await.unwrap();
    client.flush().await.unwrap();
    let mut up = [0; 2];
    owner_in.read_exact(&mut up).await.unwrap();
    assert_eq!(&up, b"up");
    transits.drain(drained());
    let mut told = Vec::new();
    client.read_to_end(&mut told).await.unwrap();
    assert_eq!(told, close_frame(Close::RESTART, "server draining"));
    drop(client);
    task.await.unwrap();
}
