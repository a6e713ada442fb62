// Streams: the results of a query and the changes of a watch, as input ranges.
#pragma once

#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "datastore/entry.h"

namespace datastore {

namespace detail {
class QueryReader;
class WatchReader;

// The iterator of a stream that has `bool done()`, `const Item& current()` and `void advance()`.
template <typename Stream, typename Item>
class StreamIterator {
 public:
  using iterator_concept = std::input_iterator_tag;
  using value_type = Item;
  using difference_type = std::ptrdiff_t;

  StreamIterator() = default;
  explicit StreamIterator(Stream* stream) noexcept : stream_(stream) {}

  const Item& operator*() const noexcept { return stream_->current(); }
  const Item* operator->() const noexcept { return &stream_->current(); }
  StreamIterator& operator++() {
    stream_->advance();
    return *this;
  }
  void operator++(int) { ++*this; }
  friend bool operator==(const StreamIterator& it, std::default_sentinel_t) noexcept { return it.is_over(); }

 private:
  [[nodiscard]] bool is_over() const noexcept { return stream_->done(); }

  Stream* stream_ = nullptr;
};
}  // namespace detail

// The entries of a query, in its order: `for (const Entry& entry : client.query(query))`. The call begins with the
// first entry; leaving the loop, or destroying the stream, ends it. At most about two messages are buffered. A call
// that is cut off is continued where it was; every entry that exists throughout is given out exactly once. If the
// results end without their summary, TruncatedStreamError is thrown: they are never silently incomplete.
//
// Movable, but not while it is iterated. For one thread at a time, apart from `cancel`.
class QueryStream {
 public:
  using Iterator = detail::StreamIterator<QueryStream, Entry>;

  explicit QueryStream(std::unique_ptr<detail::QueryReader> reader) noexcept;
  QueryStream(QueryStream&&) noexcept;
  QueryStream& operator=(QueryStream&&) noexcept;
  ~QueryStream();

  // The first entry that has not been read. Can be called again after a loop was left, to read on.
  Iterator begin();
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  // The next entry, which is moved out; nothing at the end.
  std::optional<Entry> next();
  // How the results ended. Throws Error CURSOR_RUNNING before their end.
  [[nodiscard]] const Summary& summary() const;
  // Ends the call, from any thread: a thread that waits for entries gets none, as at the end.
  void cancel() noexcept;

 private:
  friend Iterator;

  [[nodiscard]] bool done() const noexcept { return done_; }
  [[nodiscard]] const Entry& current() const noexcept { return batch_[place_]; }
  void advance() {
    if (++place_ >= batch_.size()) refill();
  }
  void refill();

  std::unique_ptr<detail::QueryReader> reader_;
  std::vector<Entry> batch_;
  std::size_t place_ = 0;
  bool done_ = false;
};

// The changes of the entries that a query selects, as they happen: `for (const ChangeBatch& batch :
// client.watch(query))`. Has begun when it is returned: all writes that begin later are shown. Does not end by itself.
// A call that is cut off is continued by its token. Throws ChangesExpiredError if it was read too slowly: list the
// entries again.
//
// Movable, but not while it is iterated. For one thread at a time, apart from `cancel`.
class WatchStream {
 public:
  using Iterator = detail::StreamIterator<WatchStream, ChangeBatch>;

  explicit WatchStream(std::unique_ptr<detail::WatchReader> reader) noexcept;
  WatchStream(WatchStream&&) noexcept;
  WatchStream& operator=(WatchStream&&) noexcept;
  ~WatchStream();

  // Waits for the next changes.
  Iterator begin();
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  // Waits for the next changes; nothing if the watch was cancelled.
  std::optional<ChangeBatch> next();
  // Where the watch is: a later one with this token continues after all changes that were given out. It moves on even
  // if there are no changes.
  [[nodiscard]] const std::string& token() const noexcept;
  // Ends the watch, from any thread: a thread that waits for changes gets none.
  void cancel() noexcept;

 private:
  friend Iterator;

  [[nodiscard]] bool done() const noexcept { return !current_; }
  [[nodiscard]] const ChangeBatch& current() const noexcept { return *current_; }
  void advance() { current_ = next(); }

  std::unique_ptr<detail::WatchReader> reader_;
  std::optional<ChangeBatch> current_;
};

}  // namespace datastore
