// Keys: the canonical text that identifies an entry.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace datastore {

// Identifies one entry. Equal if and only if the canonical texts are; ordered by their bytes, i.e. by code points.
class Key {
 public:
  static constexpr std::size_t max_bytes = 1024;
  static constexpr int slots = 16384;

  // The root, "/".
  Key() : text_("/") {}
  // The key of a text, made canonical: parts without empty ones, each after one "/". Throws InvalidKeyError for control
  // characters, text that is not UTF-8, and more than `max_bytes`. Implicit, because a text is how a key is written.
  Key(std::string_view text);
  Key(const std::string& text) : Key(std::string_view(text)) {}
  Key(const char* text) : Key(std::string_view(text)) {}

  // Takes a text that is known to be canonical, such as those in responses, without looking at it.
  static Key from_canonical(std::string text) noexcept { return Key(std::move(text), Canonical{}); }

  // The canonical text, e.g. "/Airport:LSZS".
  [[nodiscard]] const std::string& text() const noexcept { return text_; }
  // The key whose collection this key belongs to: "/a" for "/a/b", "/a:b" and "/a:b:c".
  [[nodiscard]] Key collection() const;
  // The xxh3-64 of the text, modulo 2^60.
  [[nodiscard]] std::uint64_t hash() const noexcept;
  // The slot that decides which shard owns the key; of `collection()` if a cluster is sharded by collection.
  [[nodiscard]] int slot() const noexcept { return static_cast<int>(hash() % slots); }

  friend bool operator==(const Key&, const Key&) = default;
  friend std::strong_ordering operator<=>(const Key& a, const Key& b) noexcept {
    return a.text_.compare(b.text_) <=> 0;
  }

 private:
  struct Canonical {};
  Key(std::string text, Canonical) noexcept : text_(std::move(text)) {}

  std::string text_;
};

}  // namespace datastore
