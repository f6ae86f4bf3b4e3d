//! A client whose room is on another pod agrees with that pod on compression.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// The next frame: its first byte, and its payload.
async fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.unwrap();
    let length = match head[1] {
        126 => stream.read_u16().await.unwrap().into(),
        short => usize::from(short),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.unwrap();
    (head[0], payload)
}

#[tokio::test]
async fn a_client_agrees_on_compression_with_the_pod_that_has_its_room() {
    let stage = Stage::new().await;
    let pods: [_; 2] = stage.pods(&Told::default()).await;
    let (_, other) = owner_and_other(&pods, "far");
    let mut stream = TcpStream::connect(other.public).await.unwrap();
    let request = "GET /far HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=13\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let byte = within("the answer", stream.read_u8()).await;
        answer.push(byte.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap().to_ascii_lowercase();
    let agreed: Vec<_> = answer
        .lines()
        .filter_map(|line| line.strip_prefix("sec-websocket-extensions: "))
        .collect();
    assert_eq!(
        agreed,
        [
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
          server_max_window_bits=13"
        ]
    );

    let word = "far away and shorter than it looks ".repeat(30);
    let mut packed = Vec::with_capacity(2000);
    Compress::new(Compression::best(), false)
        .compress_vec(word.as_bytes(), &mut packed, FlushCompress::Sync)
        .unwrap();
    let payload = packed.strip_suffix(&TAIL).unwrap();
    let mut said = vec![
        0xC1,
        0x80 | u8::try_from(payload.len()).unwrap(),
        0,
        0,
        0,
        0,
    ];
    said.extend_from_slice(payload);
    stream.write_all(&said).await.unwrap();
    let mut near = join(other.public, "/far").await;
    near.says("near").await;
    near.hears("near").await;
    loop {
        // What is shorter comes as it is.
        let (first, payload) = within("hearing", frame(&mut stream)).await;
        if first == 0xC1 {
            let mut heard = Vec::with_capacity(word.len() + 1);
            Decompress::new(false)
                .decompress_vec(
                    &[&payload, &TAIL[..]].concat(),
                    &mut heard,
                    FlushDecompress::Sync,
                )
                .unwrap();
            assert_eq!(heard, word.as_bytes());
            break;
        }
        assert_eq!(first, 0x81, "nothing but text");
    }
}
