// Values: one class for every kind that an entry can hold.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "datastore/key.h"

namespace datastore {

class Value;

// An instant in whole microseconds. Coarser time points convert implicitly; for finer ones, such as those of
// system_clock, say how to round: `std::chrono::floor<std::chrono::microseconds>(now)`.
using Timestamp = std::chrono::sys_time<std::chrono::microseconds>;
// Values in order.
using List = std::vector<Value>;
// Values by name. The order of names has no meaning to the datastore.
using Map = std::map<std::string, Value, std::less<>>;

// Any bytes, as a type apart from text.
class Bytes {
 public:
  Bytes() = default;
  explicit Bytes(std::string data) noexcept : data_(std::move(data)) {}
  explicit Bytes(std::span<const std::byte> data) : data_(reinterpret_cast<const char*>(data.data()), data.size()) {}

  [[nodiscard]] const std::string& str() const& noexcept { return data_; }
  [[nodiscard]] std::string&& str() && noexcept { return std::move(data_); }
  [[nodiscard]] std::span<const std::byte> span() const noexcept { return std::as_bytes(std::span(data_)); }
  [[nodiscard]] std::size_t size() const noexcept { return data_.size(); }

  friend bool operator==(const Bytes&, const Bytes&) = default;

 private:
  std::string data_;
};

// The kind of a value, in the order of `Value::Content`.
enum class Kind : std::uint8_t { null, boolean, int64, floating, string, bytes, timestamp, key, list, map };

// The name of a kind, e.g. "int64".
std::string_view to_string(Kind kind) noexcept;

namespace detail {
template <typename T>
concept Character = std::same_as<T, char> || std::same_as<T, wchar_t> || std::same_as<T, char8_t> ||
    std::same_as<T, char16_t> || std::same_as<T, char32_t>;
template <typename T>
concept Integer = std::integral<T> && !std::same_as<T, bool> && !Character<T>;
[[noreturn]] void refuse_integer(std::uint64_t number);
[[noreturn]] void refuse_kind(Kind asked, Kind held);
}  // namespace detail

// One typed value. Kinds are kept: an int64 is read as an int64, and a double as a double.
class Value {
 public:
  using Content =
      std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, Bytes, Timestamp, Key, List, Map>;

  // Null. Only inside of lists and maps: putting a null deletes the entry.
  Value() noexcept = default;
  // Not inline, for the sake of compile times, and because g++ 12 warns of uninitialized parts of a variant otherwise.
  Value(const Value& other);
  Value(Value&& other) noexcept;
  Value& operator=(const Value& other);
  Value& operator=(Value&& other) noexcept;
  ~Value();
  Value(std::nullptr_t) noexcept {}
  // Implicit, because a value is written as what it holds. Pointers do not convert to bool.
  template <std::same_as<bool> T>
  Value(T flag) noexcept : content_(flag) {}
  // Throws InvalidValueError for an unsigned integer over 2^63 - 1.
  template <detail::Integer T>
  Value(T number) : content_(std::int64_t{0}) {
    if (!std::in_range<std::int64_t>(number)) detail::refuse_integer(static_cast<std::uint64_t>(number));
    content_ = static_cast<std::int64_t>(number);
  }
  Value(double number) noexcept : content_(number) {}
  Value(float number) noexcept : content_(double{number}) {}
  Value(std::string text) noexcept : content_(std::move(text)) {}
  Value(std::string_view text) : content_(std::string(text)) {}
  Value(const char* text) : content_(std::string(text)) {}
  Value(Bytes bytes) noexcept : content_(std::move(bytes)) {}
  Value(Timestamp time) noexcept : content_(time) {}
  Value(Key key) noexcept : content_(std::move(key)) {}
  Value(List list) noexcept : content_(std::move(list)) {}
  Value(Map map) noexcept : content_(std::move(map)) {}

  [[nodiscard]] Kind kind() const noexcept { return static_cast<Kind>(content_.index()); }
  [[nodiscard]] bool is_null() const noexcept { return kind() == Kind::null; }

  // The content, if it is a T (one of the types of `Content`), otherwise nullptr.
  template <typename T>
  [[nodiscard]] const T* get_if() const noexcept {
    return std::get_if<T>(&content_);
  }
  template <typename T>
  [[nodiscard]] T* get_if() noexcept {
    return std::get_if<T>(&content_);
  }
  // The content as a T. Throws InvalidValueError if it is of another kind.
  template <typename T>
  [[nodiscard]] const T& as() const& {
    if (const T* held = get_if<T>()) return *held;
    detail::refuse_kind(Value(T{}).kind(), kind());
  }
  template <typename T>
  [[nodiscard]] T as() && {
    if (T* held = get_if<T>()) return std::move(*held);
    detail::refuse_kind(Value(T{}).kind(), kind());
  }
  // For std::visit.
  [[nodiscard]] const Content& content() const noexcept { return content_; }

  // The member of a map with this name; a null if there is none, or if this is not a map.
  const Value& operator[](std::string_view name) const;
  // The same to assign to: makes the member, and a map of a null. Throws InvalidValueError for other kinds.
  Value& operator[](std::string_view name);

  friend bool operator==(const Value& a, const Value& b);

 private:
  Content content_;
};

}  // namespace datastore
