//! What each room started and still lives, and the ladder that ends it.
//!
//! When a process dies, its children become the warden's own. So once a leader is dead, what is
//! left of its room is exactly: the warden's children that came from it, and what descends from
//! them. One *look* reads the list of children and serves all rooms at once; looks are spaced by
//! ten times what they cost, so that a thousand rooms coming and going stay cheap.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    io,
    os::fd::BorrowedFd,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    MARKER,
    confined::Confined,
    spawn::{Birth, Spawned},
    watch::{Told, Watch},
};
use crate::child::{
    Exit, cgroup,
    tree::{self, Environment},
    wire::Answer,
};

/// How often what must die is killed again: it may have forked meanwhile.
const KILL_EVERY: Duration = Duration::from_millis(10);
/// The shortest pause between two looks.
const PAUSE: Duration = Duration::from_millis(1);
/// After so many looks the dead of unknown origin are no reason to doubt: a program that makes
/// them all the time must not hold up the end of other rooms.
const DOUBTS: u8 = 20;
/// How long after its grace a room waits for what is nobody's, which may be beyond our reach.
const NOBODYS: Duration = Duration::from_secs(1);
/// How often a cgroup is tried to be removed before it is left to the next server.
const PATIENT: u8 = 200;
/// How often an environment that cannot be read is tried before its process is nobody's.
const TRIES: u8 = 3;

/// All rooms the warden started a program for.
#[derive(Default)]
pub(super) struct Rooms {
    /// What is to be told to the server, in order.
    pub(super) answers: Vec<Answer>,
    /// Tells which leaders ended.
    watch: Watch,
    rooms: HashMap<u64, Room>,
    /// The rooms of leaders that are not reaped; their numbers are also those of sessions.
    leaders: HashMap<i32, u64>,
    /// The rooms by what their environment alone has; see [`MARKER`].
    markers: HashMap<Vec<u8>, u64>,
    /// Children that no request of the server started.
    orphans: HashMap<i32, Orphan>,
    /// Cgroups of rooms that are gone, in which something is still dying, and how often they were
    /// tried to be removed.
    leftover: Vec<(PathBuf, u8)>,
    /// Somebody died, or a room began to end: a look is needed.
    look: bool,
    /// The next look that time alone makes needed.
    due: Option<Instant>,
    /// No look before this.
    pause: Option<Instant>,
}

struct Room {
    leader: i32,
    /// Not known yet whether its program runs.
    birth: Option<Birth>,
    confined: Confined,
    /// The watch tells when the leader ends; else every look asks.
    watched: bool,
    marker: Option<Vec<u8>>,
    /// How the leader ended. It stays unreaped until nothing else is left, because its number is
    /// what the room's group is signalled by.
    exit: Option<Exit>,
    /// Nothing is left, and so nothing can come any more; the leader is reaped.
    empty: bool,
    /// Looks in which only the dead of unknown origin spoke against its being empty.
    doubts: u8,
    /// The ladder, once the server asked for it.
    end: Option<End>,
}

struct End {
    signal: i32,
    kill_at: Instant,
    /// Groups other than the leader's that had the signal: a trap must run once.
    signalled: HashSet<i32>,
}

struct Orphan {
    room: Option<u64>,
    session: Option<i32>,
    /// How often it could not be asked.
    tries: u8,
}

/// Where a child of the warden came from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Room(u64),
    /// It hid every trace of its room; it ends when all rooms do.
    Nobody,
    /// Not known at this moment.
    Unclear,
}

impl Rooms {
    pub(super) fn started(
        &mut self,
        id: u64,
        spawned: Spawned,
        marker: Option<Vec<u8>>,
        confined: Confined,
    ) {
        let Spawned { pid, birth } = spawned;
        let leader = pid as i32; // a pid is a positive pid_t
        self.leaders.insert(leader, id);
        let watched = self.watch.add(id, leader);
        match &birth {
            Some(birth) => self.watch.add_birth(id, birth.fd()),
            None => self.answers.push(Answer::Started { id, pid }),
        }
        if let Some(marker) = &marker {
            self.markers.insert(marker.clone(), id);
        }
        self.rooms.insert(
            id,
            Room {
                leader,
                birth,
                confined,
                watched,
                marker,
                exit: None,
                doubts: 0,
                empty: false,
                end: None,
            },
        );
    }

    /// A room that is gone, or never was, leaves its cgroup.
    pub(super) fn left(&mut self, confined: Confined) {
        self.leftover
            .extend(confined.remove().map(|part| (part, 0)));
        self.look |= !self.leftover.is_empty();
    }

    /// Asks how the start of a program went, if that is not known yet; false if it failed, and the
    /// room is no more.
    fn born(&mut self, id: u64) -> bool {
        let Some(room) = self.rooms.get_mut(&id) else {
            return false;
        };
        let outcome = room.birth.as_mut().map(Birth::outcome);
        match outcome {
            None | Some(None) => return true,
            Some(Some(Ok(()))) => {
                let pid = room.leader as u32;
                self.watch.remove_birth(room.birth.take());
                self.answers.push(Answer::Started { id, pid });
                return true;
            }
            Some(Some(Err(failed))) => {
                let (errno, step) = (failed.errno, failed.step);
                self.answers.push(Answer::Failed { id, errno, step });
            }
        }
        let Some(room) = self.rooms.remove(&id) else {
            return false;
        };
        // It has said why, and ends without a further step; until it has, it is an orphan.
        self.watch.remove_birth(room.birth);
        self.watch.remove(id);
        self.leaders.remove(&room.leader);
        tree::reap(room.leader);
        if let Some(marker) = &room.marker {
            self.markers.remove(marker);
        }
        self.left(room.confined);
        self.look = true;
        false
    }

    /// Becomes readable when a turn is needed.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.fd()
    }

    pub(super) fn somebody_died(&mut self) {
        self.look = true;
    }

    /// Begins the ladder, or brings its end nearer; a room that is gone is none of our concern.
    pub(super) fn stop(&mut self, id: u64, signal: i32, kill_at: Instant) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        if room.empty {
            return self.gone(id);
        }
        match &mut room.end {
            Some(end) => end.kill_at = end.kill_at.min(kill_at),
            end @ None => {
                *end = Some(End {
                    signal,
                    kill_at,
                    signalled: HashSet::new(),
                });
                tree::signal_group(room.leader, signal);
                tree::signal_group(room.leader, libc::SIGCONT);
            }
        }
        self.look = true;
    }

    /// The last rung at once.
    pub(super) fn kill(&mut self, id: u64, now: Instant) {
        if let Some(room) = self.rooms.get(&id).filter(|room| !room.empty) {
            tree::signal_group(room.leader, libc::SIGKILL);
            room.confined.kill();
        }
        self.stop(id, libc::SIGKILL, now);
    }

    /// The last rung of every room at once.
    pub(super) fn kill_all(&mut self, now: Instant) {
        for id in self.rooms.keys().copied().collect::<Vec<_>>() {
            self.kill(id, now);
        }
    }

    /// Kills what can be reached without a list of children.
    pub(super) fn kill_leaders(&self) {
        for leader in self.leaders.keys() {
            tree::signal_group(*leader, libc::SIGKILL);
        }
        self.rooms.values().for_each(|room| room.confined.kill());
    }

    /// Nothing lives any more: no cgroup of a room stays.
    pub(super) fn leave(self) {
        for room in self.rooms.into_values() {
            room.confined.remove();
        }
        for (part, _) in self.leftover {
            cgroup::remove(&part);
        }
    }

    /// How long the loop may sleep; none is for ever.
    pub(super) fn next_turn(&self, now: Instant) -> Option<Duration> {
        let wanted = if self.look { Some(now) } else { self.due };
        let wanted = wanted?.max(self.pause.unwrap_or(now));
        Some(wanted.saturating_duration_since(now))
    }

    /// Tells which leaders ended, and looks around if it is time.
    pub(super) fn turn(&mut self, now: Instant) {
        for told in self.watch.told() {
            match told {
                Told::Birth(id) => drop(self.born(id)),
                Told::End(id) => {
                    self.look = true;
                    self.ask_leader(id);
                }
            }
        }
        if self.next_turn(now) != Some(Duration::ZERO) {
            return;
        }
        self.look = false;
        self.due = None;
        self.look_around(now);
        let after = Instant::now();
        self.pause = Some(after + (10 * after.duration_since(now)).max(PAUSE));
    }

    fn look_around(&mut self, now: Instant) {
        // First the leaders and then the list: a leader that is seen dead has already left its
        // children to us, so that a list without them means that there are none.
        let unwatched = self
            .rooms
            .iter()
            .filter(|(_, room)| !room.watched && room.exit.is_none());
        for id in unwatched.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.ask_leader(id);
        }
        self.remove_leftover(now);
        match tree::children() {
            Ok(children) => self.sort_out(now, &children),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => self.ask_groups(now),
            Err(_) => {
                self.look = true; // again, when a descriptor is free
                self.climb(now);
            }
        }
    }

    fn ask_leader(&mut self, id: u64) {
        if !self.born(id) {
            return;
        }
        let Some(room) = self.rooms.get_mut(&id).filter(|room| room.exit.is_none()) else {
            return;
        };
        let exit = tree::ended(room.leader);
        room.exit = exit.map(|exit| match room.end {
            None => room.confined.explain(room.leader, exit),
            Some(_) => exit,
        });
        room.watched = room.exit.is_some(); // the watch tells but once
        if let Some(exit) = room.exit {
            self.answers.push(Answer::Exited { id, exit });
        }
    }

    fn sort_out(&mut self, now: Instant, children: &[i32]) {
        let mut living = Vec::new();
        // Origins of the dead. One that died after its children were listed as its own, and not
        // yet as ours, may have left some: only the next look knows.
        let mut unsure = BTreeSet::new();
        for pid in children {
            if self.leaders.contains_key(pid) {
                continue;
            }
            let origin = self.origin(*pid);
            if tree::reap(*pid).is_some() {
                self.orphans.remove(pid);
                unsure.insert(origin);
            } else if origin == Origin::Unclear {
                unsure.insert(origin);
            } else {
                living.push((*pid, origin));
            }
        }
        self.look |= !unsure.is_empty();

        let lives: BTreeSet<Origin> = living.iter().map(|(_, origin)| *origin).collect();
        let unknown = unsure.contains(&Origin::Unclear) || unsure.contains(&Origin::Nobody);
        // What is nobody's belongs to the last that end.
        let all_end = self.rooms.values().all(|room| room.end.is_some());
        let nobodys = all_end && lives.contains(&Origin::Nobody);
        let mut empty = Vec::new();
        for (id, room) in &mut self.rooms {
            let own = Origin::Room(*id);
            let waits = room
                .end
                .as_ref()
                .is_some_and(|end| now < end.kill_at + NOBODYS);
            if room.exit.is_none() || room.empty || lives.contains(&own) || unsure.contains(&own) {
                continue;
            }
            if unknown && room.doubts < DOUBTS {
                room.doubts += 1;
            } else if !(nobodys && waits) {
                empty.push(*id);
            }
        }
        for id in empty {
            self.empty(id);
        }

        for (pid, origin) in living {
            match origin {
                Origin::Room(id) => self.signal(now, pid, id),
                Origin::Nobody if all_end => self.signal_nobodys(now, pid),
                Origin::Nobody | Origin::Unclear => {}
            }
        }
        self.climb(now);
    }

    /// What was dying in these cgroups is gone by now, or will be.
    fn remove_leftover(&mut self, now: Instant) {
        self.leftover.retain_mut(|(part, tries)| {
            *tries += 1;
            !cgroup::remove(part) && *tries < PATIENT
        });
        if !self.leftover.is_empty() {
            self.due = Some(now + KILL_EVERY);
        }
    }

    /// Without a list only groups can be asked, by a number that is free once the leader is
    /// reaped and the group has ended: for so short a time that no other process gets it.
    fn ask_groups(&mut self, now: Instant) {
        let ended: Vec<(u64, i32)> = self
            .rooms
            .iter()
            .filter(|(_, room)| room.exit.is_some() && room.end.is_some() && !room.empty)
            .map(|(id, room)| (*id, room.leader))
            .collect();
        for (id, leader) in ended {
            tree::reap(leader);
            if !tree::group_lives(leader) {
                self.empty(id);
            }
        }
        self.climb(now);
    }

    /// Kills the groups whose grace is over, and says when to look again.
    fn climb(&mut self, now: Instant) {
        for room in self.rooms.values().filter(|room| !room.empty) {
            let Some(end) = &room.end else { continue };
            let next = if now >= end.kill_at {
                tree::signal_group(room.leader, libc::SIGKILL);
                room.confined.kill();
                now + KILL_EVERY
            } else {
                end.kill_at
            };
            self.due = Some(self.due.map_or(next, |due| due.min(next)));
        }
    }

    /// The ladder's present rung for an orphan of a room.
    fn signal(&mut self, now: Instant, orphan: i32, id: u64) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        let Some(end) = &mut room.end else { return };
        if now >= end.kill_at {
            tree::signal_with_group(orphan, libc::SIGKILL);
            return;
        }
        let Some(group) = tree::group(orphan) else {
            return;
        };
        if group != room.leader && end.signalled.insert(group) {
            tree::signal_with_group(orphan, end.signal);
            tree::signal_with_group(orphan, libc::SIGCONT);
        }
    }

    /// The same for one that is nobody's: it has the grace of the last room.
    fn signal_nobodys(&mut self, now: Instant, orphan: i32) {
        let last = self
            .rooms
            .iter()
            .max_by_key(|(_, room)| room.end.as_ref().map(|e| e.kill_at));
        match last.map(|(id, _)| *id) {
            Some(id) => self.signal(now, orphan, id),
            None => {
                tree::signal_with_group(orphan, libc::SIGKILL);
                self.due = Some(now + KILL_EVERY);
            }
        }
    }

    /// Nothing lives of this room but its name.
    fn empty(&mut self, id: u64) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        tree::reap(room.leader);
        self.leaders.remove(&room.leader);
        room.empty = true;
        if room.end.is_some() {
            self.gone(id);
        }
    }

    fn gone(&mut self, id: u64) {
        let Some(room) = self.rooms.remove(&id) else {
            return;
        };
        if let Some(marker) = room.marker {
            self.markers.remove(&marker);
        }
        self.left(room.confined);
        let exit = room.exit.unwrap_or(Exit::Signal(libc::SIGKILL));
        self.answers.push(Answer::Gone { id, exit });
        // What is nobody's may have waited for this.
        self.look |= self.rooms.is_empty() && !self.orphans.is_empty();
    }

    /// Where a child came from: by its session, else by the environment it was started with.
    fn origin(&mut self, pid: i32) -> Origin {
        let session = tree::session(pid);
        let known = self.orphans.get(&pid);
        let mut tries = known.map_or(0, |orphan| orphan.tries);
        if let Some(known) = known {
            match known.room {
                Some(room) => return Origin::Room(room),
                None if known.session == session && tries == TRIES => return Origin::Nobody,
                None => {}
            }
        }
        let by_session = session
            .and_then(|session| self.leaders.get(&session))
            .copied();
        let room = match by_session {
            Some(id) => Some(id),
            None => match tree::variable(pid, MARKER) {
                Environment::Value(marker) => {
                    tries = TRIES;
                    self.markers.get(&marker).copied()
                }
                Environment::Without => {
                    tries = TRIES;
                    None
                }
                Environment::Unreadable => {
                    tries = (tries + 1).min(TRIES);
                    None
                }
            },
        };
        self.orphans.insert(
            pid,
            Orphan {
                room,
                session,
                tries,
            },
        );
        match room {
            Some(id) => Origin::Room(id),
            None if tries == TRIES => Origin::Nobody,
            None => Origin::Unclear,
        }
    }
}
