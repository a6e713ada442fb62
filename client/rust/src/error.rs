//! The one error of this crate, with the reasons of the table in docs/protocol.md. Knows no calls or messages.

use std::{convert::Infallible, error, fmt, sync::Arc, time::Duration};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a call failed: decide by this, never by the text of the error.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            const ALL: &[Reason] = &[$(Reason::$name,)*];

            /// Its name in the protocol, e.g. `CONDITION_FAILED`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Reason::$name => $text,)*
                }
            }
        }
    };
}

reasons! {
    /// An invalid argument; [`Details::field`] names it.
    Invalid = "INVALID",
    /// A text that is not a valid key, or too long.
    InvalidKey = "INVALID_KEY",
    /// A value out of range or nested too deeply; [`Details::path`] says which part.
    InvalidValue = "INVALID_VALUE",
    /// A filter, order, limit or offset out of range.
    InvalidQuery = "INVALID_QUERY",
    /// A resume or page token that was truncated, altered, or belongs to another query.
    InvalidToken = "INVALID_TOKEN",
    /// A value of a type that cannot be used here.
    UnsupportedType = "UNSUPPORTED_TYPE",
    /// More than a limit allows; [`Details::limit`] and [`Details::maximum`] say which.
    LimitExceeded = "LIMIT_EXCEEDED",
    /// The condition of a write did not hold, and nothing was changed; [`Details::version`] is the current version.
    ConditionFailed = "CONDITION_FAILED",
    /// Another write of the atomic batch failed, the one at [`Details::index`]; none of them was made.
    BatchAborted = "BATCH_ABORTED",
    /// Whether a repeated write was made is not known any more: read the entry to find out.
    RequestForgotten = "REQUEST_FORGOTTEN",
    /// A watch has fallen behind what is kept: list the entries again.
    ChangesExpired = "CHANGES_EXPIRED",
    /// The store cannot answer this query.
    QueryNotSupported = "QUERY_NOT_SUPPORTED",
    /// The store cannot do this, e.g. keep versions.
    Unsupported = "UNSUPPORTED",
    /// Not answered in time; a write may have happened.
    DeadlineExceeded = "DEADLINE_EXCEEDED",
    /// Cannot be reached now. If [`Details::retry_after`] is set, the call may be repeated, otherwise a write may have
    /// happened.
    Unavailable = "UNAVAILABLE",
    /// Busy: nothing was done, try again after [`Details::retry_after`].
    Overloaded = "OVERLOADED",
    /// The server does not know who calls.
    Unauthenticated = "UNAUTHENTICATED",
    /// The caller lacks [`Details::right`].
    PermissionDenied = "PERMISSION_DENIED",
    /// The key belongs to another shard, [`Details::owner`].
    WrongShard = "WRONG_SHARD",
    /// A change that does not fit the placement of a node.
    Placement = "PLACEMENT",
    /// Results ended without their summary: some may be missing.
    TruncatedStream = "TRUNCATED_STREAM",
    /// The client was closed.
    DatastoreClosed = "DATASTORE_CLOSED",
    /// The storage of the server failed.
    Store = "STORE",
    /// The storage of the server is full; nothing was changed.
    StoreFull = "STORE_FULL",
    /// Another process has the data directory of the server open.
    StoreLocked = "STORE_LOCKED",
    /// The data of the server was written in another format.
    StoreFormat = "STORE_FORMAT",
    /// Bytes cannot be read as what was stored.
    CorruptData = "CORRUPT_DATA",
    /// A composition without stores.
    NoStores = "NO_STORES",
    /// A cursor was changed after its first entry.
    CursorRunning = "CURSOR_RUNNING",
    /// A cursor was read twice.
    CursorReuse = "CURSOR_REUSE",
    /// Links that lead back to themselves.
    CircularLink = "CIRCULAR_LINK",
    /// An invalid address, certificate file or setting.
    Config = "CONFIG",
    /// Something unexpected; the server has logged it under [`Details::incident`].
    Internal = "INTERNAL",
    /// None of the others; the text says what.
    Datastore = "DATASTORE",
}

impl Reason {
    pub(crate) fn from_name(name: &str) -> Option<Reason> {
        Reason::ALL.iter().copied().find(|reason| reason.as_str() == name)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What an error says besides its reason and text. Each is set only for the reasons that have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Details {
    /// The name of the shard that failed.
    pub shard: Option<String>,
    /// The field of the request, e.g. `query.limit`.
    pub field: Option<String>,
    /// The part of a value, e.g. `value['a'][3]`.
    pub path: Option<String>,
    /// The name of the limit that was exceeded, e.g. `batch_items`.
    pub limit: Option<String>,
    /// The value of that limit.
    pub maximum: Option<i64>,
    /// The current version of the entry whose condition failed; not set if it is absent.
    pub version: Option<i64>,
    /// The place of the write that failed in an atomic batch, counted from 0.
    pub index: Option<usize>,
    /// The shard that owns the key.
    pub owner: Option<String>,
    /// The placement epoch of the node that refused the key.
    pub epoch: Option<i64>,
    /// The right that the caller lacks: `read`, `write`, `delete` or `admin`.
    pub right: Option<String>,
    /// The id under which the server logged what happened.
    pub incident: Option<String>,
    /// The id of the call in the log of the server.
    pub request_id: Option<String>,
    /// How long to wait before the same call may be repeated: it did nothing, or was a read.
    pub retry_after: Option<Duration>,
}

type Source = Arc<dyn error::Error + Send + Sync>;

#[derive(Clone)]
struct Inner {
    reason: Reason,
    message: String,
    details: Details,
    source: Option<Source>,
    /// Whether the call was never sent, because there was no connection.
    is_unsent: bool,
}

/// Why a call failed. Its text is for people; programs decide by [`Error::reason`].
#[derive(Clone)]
pub struct Error(Box<Inner>);

/// What the calls of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            reason,
            message: message.into(),
            details: Details::default(),
            source: None,
            is_unsent: false,
        }))
    }

    /// An error of a limit, with its name and value.
    pub(crate) fn limit(name: &str, maximum: usize, message: impl Into<String>) -> Self {
        let mut error = Self::new(Reason::LimitExceeded, message);
        error.details_mut().limit = Some(name.to_owned());
        error.details_mut().maximum = i64::try_from(maximum).ok();
        error
    }

    /// An error of a value, with the path of the part.
    pub(crate) fn value(path: impl Into<String>, what: &str) -> Self {
        let path = path.into();
        let mut error = Self::new(Reason::InvalidValue, format!("{path} {what}"));
        error.details_mut().path = Some(path);
        error
    }

    pub(crate) fn with_field(mut self, field: &str) -> Self {
        self.details_mut().field = Some(field.to_owned());
        self
    }

    pub(crate) fn with_retry_after(mut self, delay: Duration) -> Self {
        self.details_mut().retry_after = Some(delay);
        self
    }

    pub(crate) fn with_source(mut self, source: impl error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// With what caused it; [`error::Error::source`] is the first of the chain of causes.
    pub(crate) fn with_cause(mut self, cause: Source) -> Self {
        self.0.source = Some(cause);
        self
    }

    pub(crate) fn with_reason(mut self, reason: Reason) -> Self {
        self.0.reason = reason;
        self
    }

    pub(crate) fn with_message(mut self, message: impl Into<String>) -> Self {
        self.0.message = message.into();
        self
    }

    pub(crate) fn unsent(mut self) -> Self {
        self.0.is_unsent = true;
        self
    }

    pub(crate) fn details_mut(&mut self) -> &mut Details {
        &mut self.0.details
    }

    /// Why the call failed.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// What the error says besides its reason and text.
    #[must_use]
    pub fn details(&self) -> &Details {
        &self.0.details
    }

    /// Whether the call may be repeated unchanged, also a write: it did nothing, or was a read.
    #[must_use]
    pub fn may_repeat(&self) -> bool {
        matches!(self.reason(), Reason::Unavailable | Reason::Overloaded) && self.details().retry_after.is_some()
    }

    /// Whether a write that ended with this error may or may not have been made.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self.reason(), Reason::Unavailable | Reason::DeadlineExceeded)
            && self.details().retry_after.is_none()
            && !self.0.is_unsent
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.0.reason, self.0.message)
    }
}

impl error::Error for Error {
    /// The innermost cause, e.g. the [`std::io::Error`] of a connection: the text of the error says the rest.
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        let mut cause = self.0.source.as_deref()? as &(dyn error::Error + 'static);
        while let Some(earlier) = cause.source() {
            cause = earlier;
        }
        Some(cause)
    }
}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
