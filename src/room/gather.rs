//! Gathering: a room that says more than a core can write singly lets lines come together.
//!
//! A small write costs a client's share of the kernel, not of its bytes. Above the bounds here the
//! child's output is read at most once in [`LULL`], so that what was printed meanwhile leaves in one
//! write for each client. What comes after a pause never waits, nor do answers to single clients in
//! a room that says little to all.

use std::time::{Duration, Instant};

/// The longest that a message waits for others.
const LULL: Duration = Duration::from_millis(1);
/// How long is counted before the room is judged anew.
const SPAN: Duration = Duration::from_millis(10);
/// Messages a second: fewer than one in a lull have nobody to wait for.
const MESSAGES: u64 = 1_000;
/// Deliveries a second: at about 5 µs for a write, what a core writes singly.
const DELIVERIES: u64 = 200_000;
/// A read of so many bytes was worth its writes: it is not waited for more.
const ENOUGH: usize = 16 << 10;

/// Fewer hearers do not get there, unless their lines come together anyway.
pub(super) const HEARERS: usize = 8;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Gather {
    since: Instant,
    messages: u64,
    deliveries: u64,
    busy: bool,
    /// Of the last message.
    at: Instant,
    timer: Timer,
}

impl Gather {
    /// Of a room that has said nothing.
    pub(super) fn new(now: Instant) -> Self {
        Gather {
            since: now,
            messages: 0,
            deliveries: 0,
            busy: false,
            at: now,
            timer: Timer::default(),
        }
    }

    /// One read of `bytes` became so many messages for everybody, and so many deliveries of them.
    /// Returns how long is waited before the next.
    pub(super) fn note(
        &mut self,
        now: Instant,
        bytes: usize,
        messages: u64,
        deliveries: u64,
    ) -> Option<Duration> {
        let pause = now.saturating_duration_since(self.at) >= SPAN;
        self.at = now;
        if pause {
            (self.since, self.messages, self.deliveries) = (now, 0, 0);
            self.busy = false;
        }
        self.messages += messages;
        self.deliveries += deliveries;
        let span = now.saturating_duration_since(self.since);
        if span >= SPAN {
            let above = |count: u64, rate: u64| {
                u128::from(count) * 1_000_000 > u128::from(rate) * span.as_micros()
            };
            self.busy = above(self.messages, MESSAGES) && above(self.deliveries, DELIVERIES);
            (self.since, self.messages, self.deliveries) = (now, 0, 0);
        }
        (self.busy && messages > 0 && bytes < ENOUGH).then_some(LULL)
    }

    /// Waits so long; more exactly than the runtime's timers, which know milliseconds.
    pub(super) async fn wait(&mut self, lull: Duration) {
        self.timer.wait(lull).await;
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod timer {
    use std::io;
    use std::os::fd::{AsRawFd, RawFd};
    use std::time::Duration;

    use nix::sys::time::TimeSpec;
    use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
    use tokio::io::unix::AsyncFd;

    /// A timerfd(2), made when it is first needed.
    #[derive(Debug, Default)]
    pub(super) struct Timer(Option<AsyncFd<Descriptor>>);

    #[derive(Debug)]
    struct Descriptor(TimerFd);

    impl AsRawFd for Descriptor {
        fn as_raw_fd(&self) -> RawFd {
            std::os::fd::AsFd::as_fd(&self.0).as_raw_fd()
        }
    }

    #[allow(unsafe_code)] // tokio asks for it
    fn register(timer: TimerFd) -> io::Result<AsyncFd<Descriptor>> {
        // SAFETY: the descriptor is owned, open, and neither closed nor replaced while registered.
        unsafe { AsyncFd::register(Descriptor(timer)) }.map_err(Into::into)
    }

    impl Timer {
        pub(super) async fn wait(&mut self, lull: Duration) {
            if self.0.is_none() {
                let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
                let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags);
                self.0 = timer.ok().and_then(|timer| register(timer).ok());
            }
            // Without a descriptor to spare nothing is gathered.
            let Some(timer) = &self.0 else { return };
            let once = Expiration::OneShot(TimeSpec::from_duration(lull));
            let set = timer.get_ref().0.set(once, TimerSetTimeFlags::empty());
            if set.is_ok()
                && let Ok(mut rung) = timer.readable().await
            {
                // Setting it again forgets that it rang.
                rung.clear_ready();
            }
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod timer {
    use std::time::Duration;

    #[derive(Debug, Default)]
    pub(super) struct Timer;

    impl Timer {
        pub(super) async fn wait(&mut self, lull: Duration) {
            tokio::time::sleep(lull).await;
        }
    }
}

use timer::Timer;

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes `messages` a second, each by itself and to so many clients, for `time`; how often
    /// that was followed by waiting.
    fn speak(
        gather: &mut Gather,
        from: Instant,
        time: Duration,
        messages: u32,
        clients: u64,
    ) -> u32 {
        let step = Duration::from_secs(1) / messages;
        let count = (time.as_nanos() / step.as_nanos()) as u32;
        (0..count)
            .filter(|n| gather.note(from + step * *n, 64, 1, clients).is_some())
            .count() as u32
    }

    #[test]
    fn a_room_above_both_bounds_gathers_and_others_do_not() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let waits =
            |messages, clients| speak(&mut Gather::new(now), now, second, messages, clients);
        assert!(waits(5_000, 100) > 4_900);
        assert_eq!(waits(20_000, 1), 0, "an echo");
        assert_eq!(waits(900, 1_000), 0, "nothing would come meanwhile");
        assert_eq!(waits(1_500, 100), 0, "written singly at ease");
    }

    #[test]
    fn what_comes_after_a_pause_does_not_wait() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut gather = Gather::new(now);
        assert!(speak(&mut gather, now, second, 5_000, 100) > 0);
        let later = now + second + SPAN;
        assert_eq!(gather.note(later, 64, 1, 100), None);
    }

    #[test]
    fn neither_large_reads_nor_directed_answers_wait() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut gather = Gather::new(now);
        speak(&mut gather, now, second, 5_000, 100);
        let later = now + second;
        assert_eq!(gather.note(later, ENOUGH, 256, 25_600), None);
        assert_eq!(gather.note(later, 64, 0, 0), None);
        assert_eq!(gather.note(later, 64, 1, 100), Some(LULL));
    }

    #[tokio::test]
    async fn the_timer_rings_each_time() {
        let mut gather = Gather::new(Instant::now());
        for _ in 0..3 {
            let begun = Instant::now();
            gather.wait(LULL).await;
            assert!(begun.elapsed() >= LULL);
        }
    }
}
