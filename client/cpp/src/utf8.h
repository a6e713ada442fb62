// What text protobuf can carry, and how it is shown.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace datastore::detail {

// Where a text stops being valid UTF-8; nothing if it is valid. Surrogates, overlong forms and what is above U+10FFFF
// are not.
std::optional<std::size_t> invalid_utf8(std::string_view text) noexcept;
// Where the first control character (Unicode category Cc) of a valid text is; nothing without any.
std::optional<std::size_t> control_character(std::string_view text) noexcept;
// The text in quotes, shortened if it is long, with anything that cannot be printed as an escape.
std::string shown(std::string_view text);
// A field path that can be sent: not empty, at most 1,024 bytes, valid UTF-8. Otherwise why not.
std::optional<std::string> invalid_path(std::string_view field_path);

}  // namespace datastore::detail
