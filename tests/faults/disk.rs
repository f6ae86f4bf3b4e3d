//! A disk that is full under the log, and under recordings.

use crate::harness::{given, temporary};
use crate::skip_unless;
use crate::stage::{SOON, begin_with, works};

/// A small disk of its own, gone with this value.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount() -> Option<Disk> {
        let disk = Disk(temporary());
        let mount = format!(
            "mount -t tmpfs -o size=64k none {}",
            disk.0.path().display()
        );
        works(&mount).then_some(disk)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        works(&format!("umount -l {}", self.0.path().display()));
    }
}

#[tokio::test]
async fn a_full_disk_under_the_log_stops_nobody_and_the_log_says_how_much_it_lacks() {
    let disk = Disk::mount();
    skip_unless!(disk.is_some(), "only root can mount a small disk");
    let disk = disk.unwrap();
    let path = |name: &str| disk.0.path().join(name);
    let setup = given(format!("{SOON} -v puppet echo")).logs_to(&path("log"));
    let (server, start) = begin_with(setup).await;
    let mut ann = server.join("/x").await;
    server.logged(r#""room":"x""#).await;
    // All that is left, to the last byte.
    let full = std::io::copy(
        &mut std::io::repeat(0),
        &mut std::fs::File::create(path("ballast")).unwrap(),
    );
    assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    // Each who comes and goes would be a line or more; a page of the file may be half empty.
    for n in 0..100 {
        let mut bob = server.join(&format!("/full-{n}")).await;
        bob.says("hello").await;
        bob.hears("hello").await;
        bob.leaves().await;
    }
    ann.says("still there").await;
    ann.hears("still there").await;
    std::fs::remove_file(path("ballast")).unwrap();
    server.join("/space").await.leaves().await;
    let told = server.logged("log lines were lost").await;
    assert!(told["lines"].as_u64() > Some(0), "{told}");
    ann.leaves().await;
    start.is_back(&server).await;
}

#[tokio::test]
async fn a_full_disk_under_recordings_costs_no_room_a_message() {
    let disk = Disk::mount();
    skip_unless!(disk.is_some(), "only root can mount a small disk");
    let disk = disk.unwrap();
    let rooms = disk.0.path().join("rooms");
    let line = format!("{SOON} --record {} puppet echo", rooms.display());
    let (server, start) = begin_with(given(line)).await;
    let mut ann = server.join("/x").await;
    let texts: Vec<String> = (0..300)
        .map(|n| format!("{n} {}", "x".repeat(1_000)))
        .collect();
    ann.says_all_of(texts.clone()).await;
    ann.hears_all_of(texts).await;
    let told = server.logged("a recording was cut short").await;
    assert!(
        told["why"].as_str().unwrap().contains("No space left"),
        "{told}"
    );
    // Whoever comes later is not recorded either, and nobody notices.
    let mut bob = server.join("/y").await;
    bob.says("hello").await;
    bob.hears("hello").await;
    assert_eq!(server.complaints().len(), 1);
    bob.leaves().await;
    ann.leaves().await;
    start.is_back(&server).await;
}
