//! What is kept of a recording, where, and what it may cost.

use std::fs;

use super::line::{Line, What};
use super::*;

fn shared() -> Arc<Shared> {
    Arc::new(Shared {
        queue: Queue::default(),
        transport: Transport::Stdio,
        framing: Framing::Raw,
        metrics: Metrics::new(0).unwrap(),
        rooms: AtomicU64::new(0),
        complained: AtomicBool::new(false),
        thread: Mutex::default(),
    })
}

fn options(dir: &std::path::Path) -> Options {
    Options {
        dir: dir.to_path_buf(),
        most: 1 << 20,
        most_together: 2 << 20,
        transport: Transport::Stdio,
        framing: Framing::Raw,
    }
}

fn lines(path: &std::path::Path) -> Vec<What> {
    let text = fs::read_to_string(path).unwrap();
    let line = |line: &str| serde_json::from_str::<Line>(line).unwrap().what;
    text.lines().map(line).collect()
}

fn recordings(dir: &std::path::Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// A disk that stands still is a thread that does not run.
#[test]
fn a_disk_that_stands_still_costs_the_recording_and_so_much_memory() {
    let shared = shared();
    let recorder = Recorder(Arc::clone(&shared));
    let recording = recorder.room("x", "1");
    let chunk = vec![b'x'; 64 << 10];
    for _ in 0..2 * queue::MOST / chunk.len() {
        recording.printed(&chunk);
    }
    assert!(recording.over.load(Relaxed));
    let other = recorder.room("y", "2");
    other.printed(&chunk);
    drop((recording, other));
    let cut = shared.metrics.render(crate::metrics::Format::Prometheus);
    assert!(cut.contains("scalesocket_recordings_cut_total 2"), "{cut}");

    // Once it moves again, what was handed over is there, and that there was more.
    let dir = tempfile::tempdir().unwrap();
    let most = options(dir.path());
    let writer = Writer::new(&Options {
        most: 64 << 20,
        most_together: 64 << 20,
        ..most
    });
    shared.queue.close();
    writer.unwrap().run(&shared);
    let [x, y] = &recordings(dir.path())[..] else {
        panic!("two recordings")
    };
    let written = lines(x);
    assert!(matches!(written.last(), Some(What::Cut(why)) if why.contains("slower")));
    let whole = written.len() - 2;
    assert_eq!(whole, queue::MOST / (chunk.len() + 96));
    assert!(matches!(&lines(y)[..], [What::Recording(_), What::Cut(_)]));
}

#[tokio::test]
async fn a_room_cannot_choose_where_its_recording_is() {
    let dir = tempfile::tempdir().unwrap();
    let rooms = dir.path().join("rooms");
    let recorder = Recorder::new(options(&rooms), Metrics::new(0).unwrap()).unwrap();
    let long = "é".repeat(64);
    let names = [
        "..", ".", "../../x", "a\0b", "X", "x", "%2e%2e", "x.1", &long, "~1",
    ];
    for name in names {
        drop(recorder.room(name, "1"));
    }
    drop(recorder.room("x", "2"));
    recorder.finish().await;
    let written = recordings(&rooms);
    assert_eq!(written.len(), names.len() + 1, "{written:?}");
    assert_eq!(recordings(dir.path()), [rooms]);
    for path in &written {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name.ends_with(writer::SUFFIX) && name.len() < 200, "{name}");
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_%.".contains(c);
        assert!(name.chars().all(plain), "{name}");
    }
}

#[tokio::test]
async fn the_oldest_make_way_and_nobody_elses_files_do() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("notes.jsonl"), vec![b'x'; 1 << 20]).unwrap();
    fs::write(dir.path().join("old.0.room.jsonl"), vec![b'x'; 1 << 20]).unwrap();
    let recorder = Recorder::new(options(dir.path()), Metrics::new(0).unwrap()).unwrap();
    for room in ["a", "b", "c"] {
        let recording = recorder.room(room, "1");
        recording.printed(&vec![b'x'; 900 << 10]);
    }
    recorder.finish().await;
    let names: Vec<_> = recordings(dir.path())
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["b.1.room.jsonl", "c.1.room.jsonl", "notes.jsonl"]);
}

#[tokio::test]
async fn what_another_server_writes_does_not_make_way() {
    let dir = tempfile::tempdir().unwrap();
    let other = Recorder::new(options(dir.path()), Metrics::new(0).unwrap()).unwrap();
    let theirs = other.room("theirs", "1");
    theirs.printed(&vec![b'x'; 900 << 10]);
    // It is there, and locked, once its second line is written; the last may be there in part.
    let whole = |path: &PathBuf| {
        let text = fs::read(path).unwrap();
        text.iter().filter(|byte| **byte == b'\n').count()
    };
    while recordings(dir.path())
        .first()
        .is_none_or(|path| whole(path) < 2)
    {
        tokio::task::yield_now().await;
    }
    let recorder = Recorder::new(options(dir.path()), Metrics::new(0).unwrap()).unwrap();
    for room in ["a", "b"] {
        recorder.room(room, "1").printed(&vec![b'x'; 900 << 10]);
    }
    recorder.finish().await;
    let names = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let left: Vec<_> = recordings(dir.path()).iter().map(names).collect();
    assert_eq!(left, ["b.1.room.jsonl", "theirs.1.room.jsonl"]);
    drop(theirs);
    other.finish().await;
}

#[tokio::test]
async fn many_small_ones_are_bounded_too() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::new(options(dir.path()), Metrics::new(0).unwrap()).unwrap();
    for room in 0..1_000 {
        drop(recorder.room("x", &room.to_string()));
    }
    recorder.finish().await;
    let left = recordings(dir.path()).len();
    assert!((400..512).contains(&left), "{left}");
}

#[tokio::test]
async fn of_those_being_written_none_makes_way() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::new(options(dir.path()), Metrics::new(0).unwrap()).unwrap();
    let rooms = ["a", "b", "c"].map(|room| recorder.room(room, "1"));
    for room in &rooms {
        room.printed(&vec![b'x'; 900 << 10]);
    }
    drop(rooms);
    recorder.finish().await;
    let [a, b, c] = &recordings(dir.path())[..] else {
        panic!("three recordings")
    };
    assert_eq!((lines(a).len(), lines(b).len()), (2, 2));
    assert!(matches!(&lines(c)[1], What::Cut(why) if why.contains("--record-total")));
}

#[test]
fn bytes_come_back_as_they_were() {
    for bytes in [&b"plain\n"[..], b"\xff\0", "é".as_bytes(), b"\"\\\x1b"] {
        let mut line = Vec::new();
        let what = What::printed(bytes.to_vec());
        Line::new(Duration::from_micros(1_500_001), what).write(&mut line);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let line: Line = serde_json::from_slice(&line).unwrap();
        assert_eq!(line.at, 1.500001);
        let back = match line.what {
            What::Out(text) => text.into_bytes(),
            What::Out64(text) => line::decoded(&text).unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(back, bytes);
    }
}

#[test]
fn what_a_client_chose_is_not_told_of_its_variables() {
    let env = [
        ("ROOM", "x"),
        ("HTTP_COOKIE", "secret"),
        ("QUERY_STRING", "token=secret"),
        ("PATH", "/bin"),
    ];
    let start = Start::default().with_env(env.into_iter());
    assert_eq!(start.env.len(), 1);
    assert_eq!(start.env_names, ["HTTP_COOKIE", "PATH", "QUERY_STRING"]);
}
