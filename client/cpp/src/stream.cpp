// The ranges over the readers.
#include "datastore/stream.h"

#include "datastore/error.h"
#include "query_reader.h"
#include "watch_reader.h"

namespace datastore {

static_assert(std::input_iterator<QueryStream::Iterator>);
static_assert(std::input_iterator<WatchStream::Iterator>);

QueryStream::QueryStream(std::unique_ptr<detail::QueryReader> reader) noexcept : reader_(std::move(reader)) {}
QueryStream::QueryStream(QueryStream&&) noexcept = default;
QueryStream& QueryStream::operator=(QueryStream&&) noexcept = default;
QueryStream::~QueryStream() = default;

QueryStream::Iterator QueryStream::begin() {
  if (!done_ && place_ >= batch_.size()) refill();
  return Iterator(this);
}

std::optional<Entry> QueryStream::next() {
  if (!done_ && place_ >= batch_.size()) refill();
  if (done_) return std::nullopt;
  return std::move(batch_[place_++]);
}

void QueryStream::refill() {
  place_ = 0;
  done_ = true;  // also after an error
  try {
    done_ = !reader_->read(batch_);
  } catch (...) {
    batch_.clear();
    throw;
  }
}

const Summary& QueryStream::summary() const {
  if (reader_->summary()) return *reader_->summary();
  throw Error(Reason::cursor_running, "a query has a summary once all of its entries have been read");
}

void QueryStream::cancel() noexcept { reader_->cancel(); }

WatchStream::WatchStream(std::unique_ptr<detail::WatchReader> reader) noexcept : reader_(std::move(reader)) {}
WatchStream::WatchStream(WatchStream&&) noexcept = default;
WatchStream& WatchStream::operator=(WatchStream&&) noexcept = default;
WatchStream::~WatchStream() = default;

WatchStream::Iterator WatchStream::begin() {
  advance();
  return Iterator(this);
}

std::optional<ChangeBatch> WatchStream::next() { return reader_->next(); }

const std::string& WatchStream::token() const noexcept { return reader_->token(); }

void WatchStream::cancel() noexcept { reader_->cancel(); }

}  // namespace datastore
