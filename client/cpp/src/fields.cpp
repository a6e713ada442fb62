#include "fields.h"

namespace datastore::detail {

namespace {

const Value* member(const Map& map, std::string_view name) noexcept {
  const auto found = map.find(name);
  return found == map.end() ? nullptr : &found->second;
}

// The map that a dotted path leads into, and the rest of the path.
struct Step {
  std::string_view name;
  const Map* inner = nullptr;
  std::string_view rest;
};

Step step(const Map& map, std::string_view path) noexcept {
  const std::size_t dot = path.find('.');
  if (dot == std::string_view::npos) return {};
  const std::string_view name = path.substr(0, dot);
  const Value* held = member(map, name);
  return {name, held == nullptr ? nullptr : held->get_if<Map>(), path.substr(dot + 1)};
}

bool project(const Map& from, std::string_view path, Map& into) {
  if (const Value* held = member(from, path)) {
    into.insert_or_assign(std::string(path), *held);
    return true;
  }
  const Step next = step(from, path);
  if (next.inner == nullptr) return false;
  Map kept;
  const auto present = into.find(next.name);
  if (present != into.end()) kept = std::move(present->second).as<Map>();
  const bool found = project(*next.inner, next.rest, kept);
  if (found || present != into.end()) into.insert_or_assign(std::string(next.name), Value(std::move(kept)));
  return found;
}

}  // namespace

const Value* field_of(const Value& value, std::string_view path) noexcept {
  const Map* map = value.get_if<Map>();
  while (map != nullptr) {
    if (const Value* held = member(*map, path)) return held;
    const Step next = step(*map, path);
    map = next.inner;
    path = next.rest;
  }
  return nullptr;
}

Value projected(const Value& value, const std::vector<std::string>& paths) {
  Map kept;
  if (const Map* map = value.get_if<Map>()) {
    for (const std::string& path : paths) project(*map, path, kept);
  }
  return kept;
}

}  // namespace datastore::detail
