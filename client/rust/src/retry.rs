//! When to repeat a call that failed, and whether its server is expected back. Decides, and does not wait.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;

/// How long a server that is lost, and has answered before, is expected back.
const RESUME_TIMEOUT: Duration = Duration::from_secs(30);
/// The first and the longest backoff; each is shortened at random by up to a half.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);
/// The delay of errors of which the client itself finds that they may be repeated.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The deadline of a call over all its attempts, and the backoffs between them.
pub(crate) struct Policy {
    pub(crate) timeout: Duration,
    /// None if it is so far away that it is none.
    pub(crate) deadline: Option<Instant>,
    /// When the wait for the server began; none while it answers.
    cut_at: Option<Instant>,
    backoff: Duration,
}

impl Policy {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { timeout, deadline: Instant::now().checked_add(timeout), cut_at: None, backoff: FIRST_BACKOFF }
    }

    /// The time that is left.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Notes that the server has sent a message.
    pub(crate) fn saw_message(&mut self) {
        self.cut_at = None;
        self.backoff = FIRST_BACKOFF;
    }

    /// How long to wait before the next attempt: the delay that the server asks for, and a random time, so that many
    /// clients do not come back at once. None: give up.
    pub(crate) fn backoff(&mut self, error: &Error) -> Option<Duration> {
        let now = Instant::now();
        if now >= *self.cut_at.get_or_insert(now) + RESUME_TIMEOUT {
            return None;
        }
        let random = self.backoff.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.backoff = LONGEST_BACKOFF.min(self.backoff * 2);
        let wait = random.saturating_add(error.details().retry_after.unwrap_or_default());
        match self.deadline {
            Some(deadline) if now.checked_add(wait).is_none_or(|end| end >= deadline) => None,
            _ => Some(wait),
        }
    }
}

/// Whether the server is up, judged by how calls end.
///
/// A server that never answered is not waited for: its address may be wrong.
#[derive(Default)]
pub(crate) struct Link {
    has_answered: bool,
    down_since: Option<Instant>,
}

impl Link {
    /// Whether calls that did not reach the server may be repeated.
    pub(crate) fn is_expected_back(&self) -> bool {
        self.has_answered && self.down_since.is_none_or(|since| since.elapsed() < RESUME_TIMEOUT)
    }

    /// Notes that the server answered.
    pub(crate) fn up(&mut self) {
        self.has_answered = true;
        self.down_since = None;
    }

    /// Notes that a call was lost on its way; `is_connected` if there was a connection.
    pub(crate) fn down(&mut self, is_connected: bool) {
        self.has_answered |= is_connected;
        self.down_since.get_or_insert_with(Instant::now);
    }
}
