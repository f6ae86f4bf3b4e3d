//! Loopback addresses that nobody else uses: each test process reserves 127.N.0.0/16 and hands out
//! every address in it once. On an address of its own any port is free, and stays so while its owner
//! is down, because outgoing connections never start from there.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

struct Block {
    octet: u8,
    next: AtomicU16,
    /// Bound as long as the process lives: who cannot bind it, takes another block.
    _reserved: UdpSocket,
}

static BLOCK: LazyLock<Block> = LazyLock::new(|| {
    // Not from 1: 127.0.1.1 and its like have names on some systems. Started at a place of its own,
    // so that two processes seldom try the same.
    let first = std::process::id() % 200;
    (0..200)
        .find_map(|step| {
            let octet = 50 + u8::try_from((first + step) % 200).ok()?;
            let reserved = UdpSocket::bind((Ipv4Addr::new(127, octet, 0, 1), 40_009)).ok()?;
            Some(Block {
                octet,
                next: AtomicU16::new(2),
                _reserved: reserved,
            })
        })
        .expect("a block of loopback addresses is free")
});

/// An address that nobody had before.
pub fn fresh() -> Ipv4Addr {
    let [high, low] = BLOCK.next.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Ipv4Addr::new(127, BLOCK.octet, high, low)
}
