//! Instants in whole microseconds, as the protocol has them.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::error::{Error, Result};

const MICROS: i64 = 1_000_000;
/// The years 1 to 9999 of UTC, in seconds since 1970.
const FIRST_SECOND: i64 = -62_135_596_800;
const LAST_SECOND: i64 = 253_402_300_799;
const DAY_SECONDS: i64 = 86_400;

/// An instant in the years 1 to 9999 of UTC, in whole microseconds.
///
/// ```
/// use datastore_client::Timestamp;
///
/// let time = Timestamp::from_micros(1_795_961_662_123_456)?;
/// assert_eq!(time.to_string(), "2026-11-29T14:14:22.123456Z");
/// # Ok::<(), datastore_client::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The instant this many microseconds after the beginning of 1970 in UTC.
    ///
    /// # Errors
    /// `INVALID_VALUE` outside of the years 1 to 9999.
    pub fn from_micros(micros: i64) -> Result<Self> {
        if (FIRST_SECOND..=LAST_SECOND).contains(&micros.div_euclid(MICROS)) {
            Ok(Self(micros))
        } else {
            Err(Error::value("value", "is a timestamp outside of the years 1 to 9999 of UTC"))
        }
    }

    /// The microseconds since the beginning of 1970 in UTC.
    #[must_use]
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// The current time of this machine.
    #[must_use]
    pub fn now() -> Self {
        Self::floor(SystemTime::now()).unwrap_or(Self(0))
    }

    /// The last whole microsecond that is not after `time`, for times that may be finer.
    ///
    /// # Errors
    /// `INVALID_VALUE` outside of the years 1 to 9999.
    pub fn floor(time: SystemTime) -> Result<Self> {
        Self::from_micros(i64::try_from(nanos(time).div_euclid(1000)).unwrap_or(i64::MAX))
    }

    pub(crate) fn from_message(message: &prost_types::Timestamp) -> Result<Self> {
        if message.nanos % 1000 != 0 {
            return Err(Error::value("value", "is a timestamp that is not of whole microseconds"));
        }
        let micros =
            message.seconds.checked_mul(MICROS).and_then(|all| all.checked_add(i64::from(message.nanos) / 1000));
        Self::from_micros(micros.unwrap_or(i64::MAX))
    }

    pub(crate) fn to_message(self) -> prost_types::Timestamp {
        let (seconds, micros) = (self.0.div_euclid(MICROS), self.0.rem_euclid(MICROS));
        prost_types::Timestamp { seconds, nanos: i32::try_from(micros * 1000).unwrap_or_default() }
    }
}

/// Refuses times that are finer than microseconds: see `floor`.
impl TryFrom<SystemTime> for Timestamp {
    type Error = Error;

    fn try_from(time: SystemTime) -> Result<Self> {
        if nanos(time) % 1000 != 0 {
            return Err(Error::value("value", "is a time finer than microseconds; cut it with Timestamp::floor"));
        }
        Self::floor(time)
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let distance = Duration::from_micros(time.0.unsigned_abs());
        if time.0 < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
    }
}

/// RFC 3339, in UTC.
impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.div_euclid(MICROS);
        let (year, month, day) = civil(seconds.div_euclid(DAY_SECONDS));
        let second = seconds.rem_euclid(DAY_SECONDS);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(formatter, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        match self.0.rem_euclid(MICROS) {
            0 => formatter.write_str("Z"),
            micros => write!(formatter, ".{micros:06}Z"),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Timestamp({self})")
    }
}

/// Nanoseconds since 1970, negative before.
fn nanos(time: SystemTime) -> i128 {
    let (distance, sign) = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (after, 1),
        Err(before) => (before.duration(), -1),
    };
    sign * i128::try_from(distance.as_nanos()).unwrap_or(i128::MAX)
}

/// The year, month and day of a day counted from 1970-01-01.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}
