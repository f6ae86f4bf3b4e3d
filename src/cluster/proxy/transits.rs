//! The clients on their way through this pod: how many, and the end of all of them.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::room::{Close, Transit as Share};

#[derive(Debug, Default)]
struct Shared {
    /// Whom to wake at the end.
    live: Mutex<Slab<Option<Waker>>>,
    count: watch::Sender<usize>,
    /// The same, as the metrics read it.
    shown: Arc<AtomicUsize>,
    close: OnceLock<Close>,
    /// `close` is known.
    ended: CancellationToken,
}

/// See the module's documentation; clones share.
#[derive(Debug, Clone, Default)]
pub struct Transits(Arc<Shared>);

impl Transits {
    /// None yet; how many there are is shown in `shown` too.
    pub fn new(shown: Arc<AtomicUsize>) -> Self {
        Transits(Arc::new(Shared {
            shown,
            ..Shared::default()
        }))
    }

    /// One more, with its share of this pod's limits, until the guard is dropped.
    pub fn enter(&self, share: Option<Share>) -> Transit {
        let key = self.0.live.lock().insert(None);
        self.0.count.send_modify(|count| *count += 1);
        self.0.shown.fetch_add(1, Relaxed);
        Transit {
            key,
            shared: Arc::clone(&self.0),
            _share: share,
        }
    }

    /// How many there are, and whenever that changes.
    pub fn count(&self) -> watch::Receiver<usize> {
        self.0.count.subscribe()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        *self.0.count.borrow()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All that are there, and all that come later, are closed with `close` as soon as the frame they are in has ended. The first
    /// call counts.
    pub fn drain(&self, close: Close) {
        // Set before the wakers are taken: who comes in between sees it when it is polled first.
        let _ = self.0.close.set(close);
        self.0.ended.cancel();
        let wakers: Vec<Waker> = self
            .0
            .live
            .lock()
            .iter_mut()
            .filter_map(|(_, waker)| waker.take())
            .collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Waits for [`Transits::drain`].
    pub async fn drained(&self) {
        self.0.ended.cancelled().await;
    }

    /// Waits until there are none.
    pub async fn all_gone(&self) {
        // The sender is here: it cannot close.
        let _ = self.count().wait_for(|count| *count == 0).await;
    }
}

/// One client on its way through; dropping it takes it off the count.
#[derive(Debug)]
pub struct Transit {
    key: usize,
    shared: Arc<Shared>,
    _share: Option<Share>,
}

impl Transit {
    /// What the client is to be closed with; until then the task of `waker` is woken when it is known.
    pub(super) fn close(&self, waker: &Waker) -> Option<&Close> {
        let mut live = self.shared.live.lock();
        if let Some(kept) = live.get_mut(self.key) {
            match kept {
                Some(kept) => kept.clone_from(waker),
                None => *kept = Some(waker.clone()),
            }
        }
        drop(live);
        self.shared.close.get()
    }

    /// As [`Transit::close`] for a task that asked before: without the lock.
    pub(super) fn close_now(&self) -> Option<&Close> {
        self.shared.close.get()
    }
}

impl Drop for Transit {
    fn drop(&mut self) {
        self.shared.live.lock().try_remove(self.key);
        self.shared.shown.fetch_sub(1, Relaxed);
        self.shared.count.send_modify(|count| *count -= 1);
    }
}
