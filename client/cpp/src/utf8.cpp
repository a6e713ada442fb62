#include "utf8.h"

#include <array>
#include <cstdint>

namespace datastore::detail {

namespace {

constexpr std::size_t shown_bytes = 60;
constexpr std::size_t field_path_bytes = 1024;

// The length of the valid sequence that begins a text; 0 if there is none.
std::size_t sequence(std::string_view text) noexcept {
  const auto at = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t first = at(0);
  if (first < 0x80) return 1;
  const std::size_t length = first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
  if (length == 0 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((at(i) & 0xC0) != 0x80) return 0;
  }
  const bool is_overlong = (first == 0xE0 && at(1) < 0xA0) || (first == 0xF0 && at(1) < 0x90);
  const bool is_surrogate = first == 0xED && at(1) >= 0xA0;
  const bool is_too_high = first == 0xF4 && at(1) >= 0x90;
  return is_overlong || is_surrogate || is_too_high ? 0 : length;
}

}  // namespace

std::optional<std::size_t> invalid_utf8(std::string_view text) noexcept {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = sequence(text.substr(at));
    if (length == 0) return at;
    at += length;
  }
  return std::nullopt;
}

std::optional<std::size_t> control_character(std::string_view text) noexcept {
  for (std::size_t at = 0; at < text.size(); ++at) {
    const auto byte = static_cast<std::uint8_t>(text[at]);
    if (byte < 0x20 || byte == 0x7F) return at;
    // U+0080 to U+009F.
    if (byte == 0xC2 && at + 1 < text.size() && static_cast<std::uint8_t>(text[at + 1]) < 0xA0) return at;
  }
  return std::nullopt;
}

std::string shown(std::string_view text) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out = "'";
  std::size_t at = 0;
  while (at < text.size() && at < shown_bytes) {
    const std::size_t length = sequence(text.substr(at));
    const auto byte = static_cast<std::uint8_t>(text[at]);
    if (length == 0 || byte < 0x20 || byte == 0x7F) {
      out += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
      ++at;
    } else {
      if (byte == '\'' || byte == '\\') out += '\\';
      out += text.substr(at, length);
      at += length;
    }
  }
  return out + (at < text.size() ? "...'" : "'");
}

std::optional<std::string> invalid_path(std::string_view field_path) {
  if (field_path.empty()) return "a field path must not be empty";
  if (field_path.size() > field_path_bytes) {
    return "a field path has at most 1,024 bytes, and this one has " + std::to_string(field_path.size());
  }
  if (invalid_utf8(field_path)) return "a field path must be valid UTF-8: " + shown(field_path);
  return std::nullopt;
}

}  // namespace datastore::detail
