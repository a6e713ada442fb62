#include "order.h"

#include <bit>
#include <cmath>
#include <limits>

namespace datastore::detail {

namespace {

constexpr char end_of_list = '\x00';

void append_big_endian(std::uint64_t bits, int bytes, std::string& out) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) out += static_cast<char>(bits >> shift);
}

void append_escaped(std::string_view bytes, std::string& out) {
  for (const char byte : bytes) {
    out += byte;
    if (byte == '\0') out += '\xFF';
  }
  out.append("\x00\x01", 2);
}

// The nearest double, and what remains of the number.
void append_number(double number, std::int64_t remainder, std::string& out) {
  if (std::isnan(number)) {
    out.append(10, '\0');
    return;
  }
  constexpr std::uint64_t sign = std::uint64_t{1} << 63;
  const auto bits = std::bit_cast<std::uint64_t>(number == 0 ? 0.0 : number);
  append_big_endian((bits & sign) != 0 ? ~bits : bits | sign, 8, out);
  append_big_endian(static_cast<std::uint64_t>(remainder + 0x8000), 2, out);
}

void append_number(std::int64_t number, std::string& out) {
  constexpr double beyond = 9223372036854775808.0;  // 2^63, which the largest integers round to
  const auto nearest = static_cast<double>(number);
  const std::int64_t remainder = nearest == beyond ? (number - std::numeric_limits<std::int64_t>::max()) - 1
                                                   : number - static_cast<std::int64_t>(nearest);
  append_number(nearest, remainder, out);
}

void append(const Value& value, std::string& out);

struct Appender {
  std::string& out;

  void operator()(std::nullptr_t) const { out += '\x01'; }
  void operator()(bool flag) const { out.append({'\x02', flag ? '\x01' : '\x00'}); }
  void operator()(std::int64_t number) const {
    out += '\x03';
    append_number(number, out);
  }
  void operator()(double number) const {
    out += '\x03';
    append_number(number, 0, out);
  }
  void operator()(Timestamp time) const {
    out += '\x04';
    append_big_endian(static_cast<std::uint64_t>(time.time_since_epoch().count()) ^ (std::uint64_t{1} << 63), 8, out);
  }
  void operator()(const std::string& text) const {
    out += '\x05';
    append_escaped(text, out);
  }
  void operator()(const Bytes& bytes) const {
    out += '\x06';
    append_escaped(bytes.str(), out);
  }
  void operator()(const Key& key) const {
    out += '\x07';
    append_escaped(key.text(), out);
  }
  void operator()(const List& list) const {
    out += '\x08';
    for (const Value& value : list) append(value, out);
    out += end_of_list;
  }
  void operator()(const Map& map) const {
    out += '\x09';
    for (const auto& [name, value] : map) {
      (*this)(name);
      append(value, out);
    }
    out += end_of_list;
  }
};

void append(const Value& value, std::string& out) { std::visit(Appender{out}, value.content()); }

}  // namespace

void append_sort_key(const Value& value, bool descending, std::string& out) {
  const std::size_t begin = out.size();
  append(value, out);
  if (!descending) return;
  for (std::size_t at = begin; at < out.size(); ++at) out[at] = static_cast<char>(~out[at]);
}

}  // namespace datastore::detail
