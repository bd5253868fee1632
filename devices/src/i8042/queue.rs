//! The bytes that a keyboard or a mouse has to say.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// What waits in a device. Its memory is small: what it has no room for is lost.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "VecDeque<u8>", into = "VecDeque<u8>")]
pub(crate) struct Queue(VecDeque<u8>);

const MOST: usize = 16;

impl Queue {
    /// Forgets what waits and says `bytes`: an answer comes before all else.
    pub(crate) fn answer(&mut self, bytes: &[u8]) {
        self.0.clear();
        self.0.extend(bytes.iter().take(MOST));
    }

    pub(crate) fn pop(&mut self) -> Option<u8> {
        self.0.pop_front()
    }
}

impl From<VecDeque<u8>> for Queue {
    fn from(mut bytes: VecDeque<u8>) -> Self {
        bytes.truncate(MOST);
        Self(bytes)
    }
}

impl From<Queue> for VecDeque<u8> {
    fn from(queue: Queue) -> Self {
        queue.0
    }
}
