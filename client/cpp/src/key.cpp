// Canonical texts, collections and hashes of keys.
#include "datastore/key.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "datastore/error.h"
#include "utf8.h"

namespace datastore {

namespace {

constexpr std::uint64_t hash_range = std::uint64_t{1} << 60;

[[noreturn]] void refuse(const std::string& why) {
  throw InvalidKeyError(Reason::invalid_key, why, ErrorDetails{.field = "key"});
}

bool is_canonical(std::string_view text) noexcept {
  return text == "/" || (text.starts_with('/') && !text.ends_with('/') && text.find("//") == std::string_view::npos);
}

std::string canonical(std::string_view text) {
  if (is_canonical(text)) return std::string(text);
  std::string out;
  out.reserve(text.size() + 1);
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find('/'));
    if (!part.empty()) out.append(1, '/').append(part);
    text.remove_prefix(std::min(part.size() + 1, text.size()));
  }
  return out.empty() ? "/" : out;
}

}  // namespace

Key::Key(std::string_view text) : text_(canonical(text)) {
  if (text_.size() > max_bytes) {
    refuse("a key has at most 1,024 bytes of UTF-8, and " + detail::shown(text_) + " has " +
           std::to_string(text_.size()));
  }
  if (const auto at = detail::invalid_utf8(text_)) {
    refuse("the key " + detail::shown(text_) + " is not valid UTF-8 at byte " + std::to_string(*at));
  }
  if (const auto at = detail::control_character(text_)) {
    refuse("the key " + detail::shown(text_) + " has a control character at byte " + std::to_string(*at));
  }
}

Key Key::collection() const {
  const std::size_t slash = text_.rfind('/');
  const std::size_t colon = text_.find(':', slash);
  const std::size_t length = colon == std::string::npos || colon == slash + 1 ? slash : colon;
  return length == 0 ? Key() : from_canonical(text_.substr(0, length));
}

std::uint64_t Key::hash() const noexcept { return XXH3_64bits(text_.data(), text_.size()) % hash_range; }

}  // namespace datastore
