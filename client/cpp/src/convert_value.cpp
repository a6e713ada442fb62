// Values, entries and metadata.
#include <algorithm>
#include <limits>

#include "convert.h"
#include "datastore/error.h"
#include "datastore/wire.h"
#include "times.h"
#include "utf8.h"

namespace datastore::detail {

namespace {

constexpr int value_depth = 32;
constexpr std::int64_t us_per_s = 1'000'000;
constexpr std::int32_t ns_per_us = 1'000;

// Where a part is within its value; only written out if something is wrong with it.
struct Place {
  const Place* outer = nullptr;
  const std::string* name = nullptr;
  std::size_t index = 0;
  int depth = 0;

  [[nodiscard]] Place member(const std::string& of) const { return {this, &of, 0, depth + 1}; }
  [[nodiscard]] Place element(std::size_t at) const { return {this, nullptr, at, depth + 1}; }
  [[nodiscard]] std::string path() const {
    if (outer == nullptr) return "value";
    return outer->path() + "[" + (name != nullptr ? shown(*name) : std::to_string(index)) + "]";
  }
};

[[noreturn]] void refuse(const Place& place, const std::string& why) {
  std::string path = place.path();
  const std::string text = path + " " + why;
  throw InvalidValueError(Reason::invalid_value, text, ErrorDetails{.path = std::move(path)});
}

[[noreturn]] void refuse_read(const Place& place, const std::string& why) {
  std::string path = place.path();
  const std::string text = "a value cannot be read: " + path + " " + why;
  throw Error(Reason::corrupt_data, text, ErrorDetails{.path = std::move(path)});
}

void check_text(const std::string& text, const Place& place, const char* what) {
  if (const auto at = invalid_utf8(text)) {
    refuse(place,
           std::string(what) + " not valid UTF-8 at byte " + std::to_string(*at) + "; other bytes are sent as Bytes");
  }
}

void check_depth(const Place& place) {
  if (place.depth >= value_depth) refuse(place, "is nested more than 32 deep");
}

void write(const Value& value, pb::Value& message, const Place& place);

struct Writer {
  pb::Value& message;
  const Place& place;

  void operator()(std::nullptr_t) const { message.set_null_value(google::protobuf::NULL_VALUE); }
  void operator()(bool flag) const { message.set_bool_value(flag); }
  void operator()(std::int64_t number) const { message.set_int64_value(number); }
  void operator()(double number) const { message.set_double_value(number); }
  void operator()(const std::string& text) const {
    check_text(text, place, "is");
    message.set_string_value(text);
  }
  void operator()(const Bytes& bytes) const { message.set_bytes_value(bytes.str()); }
  void operator()(Timestamp time) const {
    if (!is_writable(time)) refuse(place, "is outside of the years 1 to 9999 of UTC");
    write_time(time, *message.mutable_timestamp_value());
  }
  void operator()(const Key& key) const { message.mutable_key_value()->set_text(key.text()); }
  void operator()(const List& list) const {
    check_depth(place);
    auto& values = *message.mutable_list_value()->mutable_values();
    values.Reserve(static_cast<int>(list.size()));
    for (std::size_t i = 0; i < list.size(); ++i) write(list[i], *values.Add(), place.element(i));
  }
  void operator()(const Map& map) const {
    check_depth(place);
    auto& fields = *message.mutable_map_value()->mutable_fields();
    for (const auto& [name, value] : map) {
      check_text(name, place, "has a name that is");
      write(value, fields[name], place.member(name));
    }
  }
};

void write(const Value& value, pb::Value& message, const Place& place) {
  std::visit(Writer{message, place}, value.content());
}

Value read(pb::Value& message, const Place& place);

Timestamp checked_time(const google::protobuf::Timestamp& message, const Place& place) {
  const bool is_whole = message.nanos() >= 0 && message.nanos() < 1'000'000'000 && message.nanos() % ns_per_us == 0;
  if (!is_whole || message.seconds() < first_second || message.seconds() > last_second) {
    refuse_read(place, "is not an instant in whole microseconds of the years 1 to 9999");
  }
  return read_time(message);
}

// Stored values are not rewritten, so keys in them are canonical already.
Key read_key(const std::string& text, const Place& place) {
  try {
    Key key(text);
    if (key.text() == text) return key;
  } catch (const InvalidKeyError&) {
    // Said below.
  }
  refuse_read(place, "is not a canonical key: " + shown(text));
}

Value read_list(pb::ListValue& message, const Place& place) {
  if (place.depth >= value_depth) refuse_read(place, "is nested more than 32 deep");
  List list;
  list.reserve(static_cast<std::size_t>(message.values_size()));
  for (pb::Value& value : *message.mutable_values()) list.push_back(read(value, place.element(list.size())));
  return list;
}

Value read_map(pb::MapValue& message, const Place& place) {
  if (place.depth >= value_depth) refuse_read(place, "is nested more than 32 deep");
  Map map;
  for (auto& [name, value] : *message.mutable_fields()) map.emplace(name, read(value, place.member(name)));
  return map;
}

Value read(pb::Value& message, const Place& place) {
  switch (message.kind_case()) {
    case pb::Value::kNullValue:
      return nullptr;
    case pb::Value::kBoolValue:
      return message.bool_value();
    case pb::Value::kInt64Value:
      return message.int64_value();
    case pb::Value::kDoubleValue:
      return message.double_value();
    case pb::Value::kStringValue:
      return std::move(*message.mutable_string_value());
    case pb::Value::kBytesValue:
      return Bytes(std::move(*message.mutable_bytes_value()));
    case pb::Value::kTimestampValue:
      return checked_time(message.timestamp_value(), place);
    case pb::Value::kKeyValue:
      return read_key(message.key_value().text(), place);
    case pb::Value::kListValue:
      return read_list(*message.mutable_list_value(), place);
    case pb::Value::kMapValue:
      return read_map(*message.mutable_map_value(), place);
    case pb::Value::KIND_NOT_SET:
      break;
  }
  refuse_read(place, "has no kind, or one that this version does not know");
}

}  // namespace

void write_value(const Value& value, pb::Value& message) { write(value, message, Place{}); }

Value read_value(pb::Value& message) { return read(message, Place{}); }

void write_time(Timestamp time, google::protobuf::Timestamp& message) {
  const auto second = std::chrono::floor<std::chrono::seconds>(time);
  message.set_seconds(second.time_since_epoch().count());
  message.set_nanos(static_cast<std::int32_t>((time - second).count()) * ns_per_us);
}

Timestamp read_time(const google::protobuf::Timestamp& message) noexcept {
  const std::int64_t second = std::clamp(message.seconds(), first_second, last_second);
  return Timestamp(std::chrono::microseconds(second * us_per_s + message.nanos() / ns_per_us));
}

Metadata read_metadata(const pb::Metadata& message) {
  Metadata metadata{message.version(), read_time(message.create_time()), read_time(message.update_time()), {}};
  if (message.has_expire_time()) metadata.expire_time = read_time(message.expire_time());
  return metadata;
}

Entry read_entry(pb::Entry& message) {
  Entry entry{Key::from_canonical(std::move(*message.mutable_key()->mutable_text())), {}, {}};
  if (message.has_value()) entry.value = read_value(*message.mutable_value());
  if (message.has_metadata()) entry.metadata = read_metadata(message.metadata());
  return entry;
}

void write_entry(const Entry& entry, pb::Entry& message) {
  message.mutable_key()->set_text(entry.key.text());
  write_value(entry.value, *message.mutable_value());
  if (!entry.metadata) return;
  pb::Metadata& metadata = *message.mutable_metadata();
  metadata.set_version(entry.metadata->version);
  write_time(entry.metadata->create_time, *metadata.mutable_create_time());
  write_time(entry.metadata->update_time, *metadata.mutable_update_time());
  if (entry.metadata->expire_time) write_time(*entry.metadata->expire_time, *metadata.mutable_expire_time());
}

}  // namespace datastore::detail

namespace datastore::wire {

std::string encode(const Value& value) {
  pb::Value message;
  detail::write_value(value, message);
  return message.SerializeAsString();
}

Value decode(std::string_view data) {
  pb::Value message;
  if (!message.ParseFromArray(data.data(), static_cast<int>(data.size()))) {
    throw Error(Reason::corrupt_data, "a value cannot be read: the bytes are not a datastore.v1.Value",
                ErrorDetails{.path = "value"});
  }
  return detail::read_value(message);
}

}  // namespace datastore::wire
