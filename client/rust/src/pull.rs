//! Streams of what an async function brings, one at a time.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use crate::error::Result;

/// What brings items. It is asked again only once the item before has been taken.
pub(crate) trait Source: Send + Sized + 'static {
    type Item: Send;

    /// The next item; none at the end.
    fn pull(&mut self) -> impl Future<Output = Result<Option<Self::Item>>> + Send;
}

type Pulling<S> = Pin<Box<dyn Future<Output = (S, Result<Option<<S as Source>::Item>>)> + Send>>;

/// A source as a stream; after its end, and after an error, there is nothing more.
pub(crate) enum Pull<S: Source> {
    Idle(S),
    Pulling(Pulling<S>),
    Ended,
}

impl<S: Source + Unpin> Pull<S> {
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<S::Item>>> {
        loop {
            match std::mem::replace(self, Self::Ended) {
                Self::Ended => return Poll::Ready(None),
                Self::Idle(mut source) => {
                    *self = Self::Pulling(Box::pin(async move {
                        let item = source.pull().await;
                        (source, item)
                    }));
                }
                Self::Pulling(mut pulling) => {
                    let Poll::Ready((source, item)) = pulling.as_mut().poll(context) else {
                        *self = Self::Pulling(pulling);
                        return Poll::Pending;
                    };
                    if matches!(item, Ok(Some(_))) {
                        *self = Self::Idle(source);
                    }
                    return Poll::Ready(item.transpose());
                }
            }
        }
    }
}
