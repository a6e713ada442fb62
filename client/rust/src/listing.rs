//! The entries of a query page by page.

use std::{future::IntoFuture, pin::Pin};

use crate::{
    client::{Client, LIST_ENTRIES},
    entries::ShardSummary,
    entry::Entry,
    error::Result,
    proto::datastore::v1 as messages,
    query::Query,
    view::cut,
    wire::{entry_message, entry_of, query_message},
};

/// One page of a query, read when it is awaited.
#[must_use = "a page is read when it is awaited"]
pub struct Listing {
    client: Client,
    query: Query,
    page_size: u16,
    after: Option<PageToken>,
}

/// Where the next page of a query begins.
#[derive(Clone, Debug, PartialEq)]
pub struct PageToken {
    text: String,
    last_entry: Option<Entry>,
}

impl PageToken {
    /// A token that was kept: its text, and the entry that is sent back with it, if there was one.
    pub fn new(text: impl Into<String>, last_entry: Option<Entry>) -> Self {
        Self { text: text.into(), last_entry }
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The entry that is sent back with it: the last one of its page, whole, if its sort key is too long for a token.
    #[must_use]
    pub fn last_entry(&self) -> Option<&Entry> {
        self.last_entry.as_ref()
    }
}

/// A page of entries.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Page {
    /// The entries: as many as were asked for, or fewer.
    pub entries: Vec<Entry>,
    /// Where the next page begins; none at the end.
    pub next: Option<PageToken>,
    /// The shards that could not be reached, if the query allowed that.
    pub unreachable: Vec<ShardSummary>,
}

impl Listing {
    pub(crate) fn new(client: &Client, query: Query) -> Self {
        Self { client: client.clone(), query, page_size: 0, after: None }
    }

    /// At most this many entries: 100 by default, at most 1,000.
    pub fn page_size(mut self, page_size: u16) -> Self {
        self.page_size = page_size;
        self
    }

    /// The page after another one of the same query.
    pub fn after(mut self, token: PageToken) -> Self {
        self.after = Some(token);
        self
    }

    async fn page(self) -> Result<Page> {
        let (page_token, last_entry) = self.after.map(|token| (token.text, token.last_entry)).unwrap_or_default();
        let query = query_message(&self.query)?;
        let request = messages::ListEntriesRequest {
            query: Some(query.clone()),
            page_size: self.page_size.into(),
            page_token,
            allow_partial: self.query.allow_partial,
            last_entry: last_entry.map(entry_message).transpose()?,
        };
        let response: messages::ListEntriesResponse = self.client.inner().read(LIST_ENTRIES, &request).await?;
        let mut entries = response.entries.into_iter().map(entry_of).collect::<Result<Vec<_>>>()?;
        let last_entry = entries.last().filter(|_| response.needs_last_entry).cloned();
        cut(&mut entries, &query, response.needs_last_entry);
        let is_end = response.next_page_token.is_empty();
        Ok(Page {
            entries,
            next: (!is_end).then_some(PageToken { text: response.next_page_token, last_entry }),
            unreachable: response.unreachable.into_iter().map(ShardSummary::from).collect(),
        })
    }
}

impl IntoFuture for Listing {
    type Output = Result<Page>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<Page>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.page())
    }
}
