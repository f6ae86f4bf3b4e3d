//! Join messages that a new child must be told again, where children that fail are started again.

use super::live::Room;
use crate::frame::ClientId;

#[derive(Debug)]
pub(super) struct Greeting {
    message: Vec<u8>,
    /// Where it ends in the stream of the inbox; none while it waits for the inbox.
    said: Option<u64>,
}

impl Room {
    /// Remembers what a new child must be told of a client.
    pub(super) fn remember_greeting(&self, id: ClientId, message: &[u8]) {
        if let Some(greetings) = &self.greetings {
            greetings.lock().insert(
                id,
                Greeting {
                    message: message.into(),
                    said: None,
                },
            );
        }
    }

    /// The join message of `id` is in the inbox, up to `position` of its stream.
    pub(super) fn greeted(&self, id: ClientId, position: u64) {
        if let Some(greetings) = &self.greetings
            && let Some(greeting) = greetings.lock().get_mut(&id)
        {
            greeting.said = Some(position);
        }
    }

    /// A new child need not hear of `id`.
    pub(super) fn forget_greeting(&self, id: ClientId) {
        if let Some(greetings) = &self.greetings {
            greetings.lock().remove(&id);
        }
    }

    /// Tells a new child of everybody whom the old one knew, in the order of ids, before all
    /// that is queued. Those who came since have their join message in the queue.
    pub(super) fn greet_again(&self) {
        let Some(greetings) = &self.greetings else {
            return;
        };
        let mut again = Vec::new();
        let delivered = self.inbox.delivered();
        for greeting in greetings.lock().values() {
            if greeting.said.is_some_and(|position| position <= delivered) {
                again.extend_from_slice(&greeting.message);
            }
        }
        self.inbox.put_first(&again);
    }
}
