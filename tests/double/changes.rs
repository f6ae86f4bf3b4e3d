//! The news that something changed, for any number of listeners. tokio's watch wakes its receivers
//! in an order of its own chance; here those who waited first are woken first, so that a test with
//! one seed takes one course.

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{Receiver, Sender};

/// Who tells.
#[derive(Debug)]
pub struct Wake(Sender<()>);

/// Who listens: what is told between two looks is not lost.
#[derive(Debug)]
pub struct Changes(Receiver<()>);

/// Nothing will ever change again.
#[derive(Debug)]
pub struct Over;

impl Wake {
    /// Nobody listens yet.
    pub fn new() -> Wake {
        // One place: that there was news says it all.
        Wake(Sender::new(1))
    }

    /// Wakes everybody.
    pub fn wake(&self) {
        // Nobody listens: nobody needs to know.
        let _ = self.0.send(());
    }

    /// Hears of every change from now on.
    pub fn listen(&self) -> Changes {
        Changes(self.0.subscribe())
    }
}

impl Changes {
    /// What was told so far is known.
    pub fn catch_up(&mut self) {
        while matches!(self.0.try_recv(), Ok(()) | Err(TryRecvError::Lagged(_))) {}
    }

    /// Waits for something that is not known yet.
    pub async fn changed(&mut self) -> Result<(), Over> {
        match self.0.recv().await {
            Ok(()) | Err(RecvError::Lagged(_)) => Ok(()),
            Err(RecvError::Closed) => Err(Over),
        }
    }
}
