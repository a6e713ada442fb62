// Conversions between the classes of the client and the messages of the protocol, both ways. Makes no calls.
#pragma once

#include <optional>
#include <vector>

#include "datastore/client.h"
#include "datastore/v1/service.pb.h"

namespace datastore {

namespace pb = datastore::v1;

// Reads the parts of a query.
struct QueryAccess {
  static void write(const Query& query, pb::Query& message);
};

namespace detail {

// Values. Responses are consumed: what can be moved out of them is.

// Throws InvalidValueError, whose path names the part that cannot be sent.
void write_value(const Value& value, pb::Value& message);
// Throws Error CORRUPT_DATA for a value of a kind that this version does not know.
Value read_value(pb::Value& message);
void write_time(Timestamp time, google::protobuf::Timestamp& message);
Timestamp read_time(const google::protobuf::Timestamp& message) noexcept;
Metadata read_metadata(const pb::Metadata& message);
Entry read_entry(pb::Entry& message);
void write_entry(const Entry& entry, pb::Entry& message);

// Any message of the protocol with the optional fields `value` and `metadata`.
template <typename Message>
std::optional<Value> value_in(Message& message) {
  if (!message.has_value()) return std::nullopt;
  return read_value(*message.mutable_value());
}
template <typename Message>
std::optional<Metadata> metadata_in(const Message& message) {
  if (!message.has_metadata()) return std::nullopt;
  return read_metadata(message.metadata());
}

// Queries. Throw InvalidQueryError, InvalidValueError or LimitExceededError for what no server accepts.

pb::AggregateRequest aggregate_request(const Query& query, const std::vector<Aggregation>& aggregations,
                                       const Grouping& grouping);
Group read_group(pb::AggregateResponse::Group& message);
// Cuts an entry that was sent whole, so that it can be sent back, to what the query asks for.
void cut_last(const pb::Query& query, Entry& entry);
Change read_change(pb::EntryChange& message);
Explanation read_explanation(const pb::Explanation& message);

// Writes.

// Throws LimitExceededError for an entry over 3 MiB.
void write_put(const Key& key, const Value& value, pb::Entry& message);
void write_patch(const Key& key, const Patch& patch, pb::Patch& message);
void write_condition(const Condition& condition, pb::Precondition& message);
void write_expiry(const Expiry& expiry, pb::Expiry& message);
// The condition and the expiry of a write, in any message that has both.
template <typename Message>
void write_options(const std::optional<Condition>& condition, const std::optional<Expiry>& expiry, Message& message) {
  if (condition) write_condition(*condition, *message.mutable_condition());
  if (expiry) write_expiry(*expiry, *message.mutable_expiry());
}
void write_item(const Write& write, pb::BatchWriteRequest::Write& message);

}  // namespace detail

}  // namespace datastore
