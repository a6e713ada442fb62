//! When to repeat a call that failed, and whether its server is expected back. Decides, and does not wait.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;

/// How long a server that is lost, and has answered before, is expected back.
const RESUME_TIMEOUT: Duration = Duration::from_secs(30);
/// The first and the longest backoff; each is shortened at random by up to a half.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);
/// The longest wait for an attempt of a call without a deadline, whatever delay a server asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
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
            None => Some(wait.min(LONGEST_WAIT)),
            Some(deadline) => now.checked_add(wait).filter(|end| *end < deadline).map(|_| wait),
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

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::error::Reason;

    fn unavailable() -> Error {
        Error::new(Reason::Unavailable, "away")
    }

    #[tokio::test(start_paused = true)]
    async fn backoffs_double_up_to_a_second_and_are_shortened_by_up_to_a_half() {
        let mut policy = Policy::new(Duration::MAX);
        for longest in [50, 100, 200, 400, 800, 1000, 1000] {
            let longest = Duration::from_millis(longest);
            let backoff = policy.backoff(&unavailable()).unwrap();
            assert!((longest / 2..=longest).contains(&backoff), "{backoff:?} of {longest:?}");
        }
        policy.saw_message();
        assert!(policy.backoff(&unavailable()).unwrap() <= FIRST_BACKOFF);
    }

    #[tokio::test(start_paused = true)]
    async fn the_delay_of_the_server_is_added() {
        let error = unavailable().with_retry_after(Duration::from_secs(3));
        assert!(Policy::new(Duration::MAX).backoff(&error).unwrap() > Duration::from_secs(3));
        assert_eq!(Policy::new(Duration::from_secs(3)).backoff(&error), None);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_deadline_a_delay_is_cut() {
        let error = unavailable().with_retry_after(Duration::from_secs(10_000_000_000));
        assert_eq!(Policy::new(Duration::MAX).backoff(&error), Some(LONGEST_WAIT));
        assert_eq!(Policy::new(Duration::from_secs(3600)).backoff(&error), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_away_for_long_is_given_up() {
        let mut policy = Policy::new(Duration::MAX);
        assert!(policy.backoff(&unavailable()).is_some());
        advance(RESUME_TIMEOUT).await;
        assert_eq!(policy.backoff(&unavailable()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_server_that_answered_is_expected_back_and_not_for_ever() {
        let mut link = Link::default();
        link.down(false);
        assert!(!link.is_expected_back());
        link.up();
        link.down(false);
        advance(RESUME_TIMEOUT - Duration::from_millis(1)).await;
        assert!(link.is_expected_back());
        advance(Duration::from_millis(1)).await;
        assert!(!link.is_expected_back());
    }
}
