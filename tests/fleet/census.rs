//! Who runs: a thread that looks through the machine's processes all the time, and remembers every
//! room of a fleet that had two programs at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks. A room with two programs has them for at least a process's start.
const LOOK: Duration = Duration::from_millis(15);

/// See the module's documentation; dropping it ends it.
pub(crate) struct Census {
    stop: Arc<AtomicBool>,
    looks: Arc<AtomicUsize>,
    doubles: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Census {
    /// Of the rooms whose programs have `FLEET=<mark>` in their environment.
    pub(crate) fn of(mark: &str) -> Census {
        let stop = Arc::new(AtomicBool::new(false));
        let looks = Arc::new(AtomicUsize::new(0));
        let doubles = Arc::new(Mutex::new(Vec::new()));
        let thread = std::thread::spawn({
            let (stop, looks, doubles) = (stop.clone(), looks.clone(), doubles.clone());
            let mark = mark.to_owned();
            move || {
                while !stop.load(Ordering::Relaxed) {
                    for (room, pids) in programs(&mark) {
                        // The list is not of one instant: who is gone by now was not there with the others.
                        let still: Vec<_> = pids.into_iter().filter(|pid| lives(*pid)).collect();
                        if still.len() > 1 {
                            let mut doubles = doubles.lock().unwrap_or_else(|e| e.into_inner());
                            doubles.push(format!("{room}: {still:?}"));
                        }
                    }
                    looks.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(LOOK);
                }
            }
        });
        Census {
            stop,
            looks,
            doubles,
            thread: Some(thread),
        }
    }

    /// Fails if any room ever had two programs.
    pub(crate) fn found_no_double(self) {
        assert!(self.looks.load(Ordering::Relaxed) > 0, "nobody looked");
        let doubles = self.doubles.lock().unwrap_or_else(|e| e.into_inner());
        assert!(doubles.is_empty(), "rooms with two programs: {doubles:?}");
    }
}

impl Drop for Census {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The leaders of the rooms that live now, by room.
pub(crate) fn programs(mark: &str) -> BTreeMap<String, Vec<i32>> {
    let mark = format!("FLEET={mark}");
    let mut rooms: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let Ok(environment) = std::fs::read(process.path().join("environ")) else {
            continue;
        };
        let mut variables = environment.split(|byte| *byte == 0);
        if !variables
            .clone()
            .any(|variable| variable == mark.as_bytes())
        {
            continue;
        }
        let room = variables.find_map(|variable| variable.strip_prefix(b"ROOM="));
        // Each program leads a session of its own.
        if let Some(room) = room
            && lives(pid)
            && nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(pid)))
                .is_ok_and(|session| session.as_raw() == pid)
        {
            let room = String::from_utf8_lossy(room).into_owned();
            rooms.entry(room).or_default().push(pid);
        }
    }
    rooms
}

/// Whether a process is there and no zombie.
fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.unwrap_or_default()
        .rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}
